@echo off
rem The whole house on a Minikube of this machine: the twin of scripts/minikube-up.
setlocal EnableExtensions EnableDelayedExpansion
cd /d "%~dp0.."
set "PROFILE=shers" & set "BUILD=1" & set "VALUES="
:arguments
if "%~1"=="" goto begin
if /i "%~1"=="--help" goto usage
if /i "%~1"=="-h" goto usage
if /i "%~1"=="--no-build" (set "BUILD=" & shift & goto arguments)
if /i "%~1"=="--profile" (
  if "%~2"=="" (echo scripts\minikube-up: --profile needs a name 1>&2 & exit /b 1)
  set "PROFILE=%~2" & shift & shift & goto arguments
)
if /i "%~1"=="--values" (
  if not exist "%~2" (echo scripts\minikube-up: there is no file %~2 1>&2 & exit /b 1)
  set "VALUES=!VALUES! --values "%~2"" & shift & shift & goto arguments
)
call :usage & exit /b 2

:usage
echo usage: scripts\minikube-up.bat [--profile NAME] [--values FILE] [--no-build]
echo.
echo Starts Minikube (or uses the one that runs^), turns metrics-server on, builds the images and loads those that changed
echo into the node, installs or upgrades the chart with RabbitMQ and PostgreSQL, waits until everything is ready, asks it
echo a question (helm test^), and prints the address. May be stopped and called again at any time.
echo Environment: SHERS_MINIKUBE_CPUS (4^), SHERS_MINIKUBE_MEMORY (6g^), SHERS_WAIT (15m^).
exit /b 0

:begin
for %%p in (minikube kubectl helm docker) do (
  where %%p >nul 2>&1 || (echo scripts\minikube-up: %%p is missing; scripts\bootstrap.bat says what is needed 1>&2 & exit /b 1)
)
if not defined SHERS_MINIKUBE_CPUS set "SHERS_MINIKUBE_CPUS=4"
if not defined SHERS_MINIKUBE_MEMORY set "SHERS_MINIKUBE_MEMORY=6g"
if not defined SHERS_WAIT set "SHERS_WAIT=15m"

minikube --profile "%PROFILE%" status >nul 2>&1
if errorlevel 1 (
  minikube --profile "%PROFILE%" start --cpus %SHERS_MINIKUBE_CPUS% --memory %SHERS_MINIKUBE_MEMORY% || exit /b 1
) else echo Minikube %PROFILE% runs
rem The autoscalers ask it for the processors' load.
minikube --profile "%PROFILE%" addons enable metrics-server || exit /b 1

set "TAGS="
for %%i in (wearable triage incidents dispatch notification billing insurance stream gateway) do (
  if defined BUILD docker build -f docker/%%i.Dockerfile -t shers/%%i:latest . || exit /b 1
  set "ID="
  for /f "tokens=2 delims=:" %%d in ('docker image inspect --format "{{.Id}}" shers/%%i:latest') do set "ID=%%d"
  if not defined ID (echo scripts\minikube-up: there is no image shers/%%i:latest; leave --no-build out 1>&2 & exit /b 1)
  rem Each build has a tag of its own: an image loaded under a name that is in use does not replace it everywhere.
  set "TAG=local-!ID:~0,12!"
  set "TAGS=!TAGS! --set-string image.tags.%%i=!TAG!"
  minikube --profile "%PROFILE%" image ls | findstr /e "shers/%%i:!TAG!" >nul
  if errorlevel 1 (
    docker tag shers/%%i:latest shers/%%i:!TAG! || exit /b 1
    minikube --profile "%PROFILE%" image load shers/%%i:!TAG! || exit /b 1
  )
)

helm upgrade --install shers helm/shers --kube-context "%PROFILE%" --namespace shers --create-namespace %TAGS% %VALUES% --wait --timeout %SHERS_WAIT% || exit /b 1
helm test shers --kube-context "%PROFILE%" --namespace shers --timeout 2m || exit /b 1
for /f "delims=" %%u in ('minikube --profile "%PROFILE%" service shers-gateway --namespace shers --url') do echo SHERS is at %%u
echo the administrator's token, in base64: kubectl --context %PROFILE% -n shers get secret shers-secrets -o "jsonpath={.data.token}"
exit /b 0
