@echo off
rem ArgoCD into a cluster, and this repository under its care: the twin of scripts/argocd-init.
setlocal EnableExtensions
cd /d "%~dp0.."
set "CONTEXT=" & set "REPO=" & set "REVISION=main" & set "ROLLOUTS=false"
:arguments
if "%~1"=="" goto begin
if /i "%~1"=="--help" goto usage
if /i "%~1"=="-h" goto usage
if /i "%~1"=="--rollouts" (set "ROLLOUTS=true" & shift & goto arguments)
if "%~2"=="" (echo scripts\argocd-init: %~1 needs a value 1>&2 & exit /b 1)
if /i "%~1"=="--context" (set "CONTEXT=%~2" & shift & shift & goto arguments)
if /i "%~1"=="--repo" (set "REPO=%~2" & shift & shift & goto arguments)
if /i "%~1"=="--revision" (set "REVISION=%~2" & shift & shift & goto arguments)
call :usage & exit /b 2

:usage
echo usage: scripts\argocd-init.bat --context NAME [--repo URL] [--revision BRANCH] [--rollouts]
echo.
echo Installs ArgoCD of a fixed version into the namespace argocd, waits for it, and applies the application of
echo applications (helm\argocd^), which from then on looks after itself and the house. There is no default for --context:
echo this must not hit the wrong cluster. May be stopped and called again at any time.
echo Environment: SHERS_ARGOCD_VERSION (v3.2.1^), SHERS_ARGOCD_MANIFEST, SHERS_WAIT (10m^).
exit /b 0

:begin
if not defined CONTEXT (echo scripts\argocd-init: name the cluster with --context 1>&2 & exit /b 1)
for %%p in (kubectl helm git) do (
  where %%p >nul 2>&1 || (echo scripts\argocd-init: %%p is missing; scripts\bootstrap.bat says what is needed 1>&2 & exit /b 1)
)
if not defined REPO for /f "delims=" %%r in ('git remote get-url origin 2^>nul') do set "REPO=%%r"
if not defined REPO (echo scripts\argocd-init: this clone has no remote "origin"; say --repo URL 1>&2 & exit /b 1)
if not defined SHERS_ARGOCD_VERSION set "SHERS_ARGOCD_VERSION=v3.2.1"
if not defined SHERS_ARGOCD_MANIFEST set "SHERS_ARGOCD_MANIFEST=https://raw.githubusercontent.com/argoproj/argo-cd/%SHERS_ARGOCD_VERSION%/manifests/install.yaml"
if not defined SHERS_WAIT set "SHERS_WAIT=10m"

kubectl --context "%CONTEXT%" get namespace argocd >nul 2>&1 || kubectl --context "%CONTEXT%" create namespace argocd || exit /b 1
rem On the server's side: ArgoCD's definitions are larger than a client's patch may be.
kubectl --context "%CONTEXT%" apply --namespace argocd --server-side --force-conflicts --filename "%SHERS_ARGOCD_MANIFEST%" || exit /b 1
kubectl --context "%CONTEXT%" wait --namespace argocd --for=condition=Available deployment --all --timeout %SHERS_WAIT% || exit /b 1

set "APPLICATION=%TEMP%\shers-argocd-%RANDOM%.yaml"
helm template shers-root helm/argocd --set-string "repoURL=%REPO%" --set-string "revision=%REVISION%" --set rollouts.enabled=%ROLLOUTS% --show-only templates/project.yaml --show-only templates/root.yaml >"%APPLICATION%" || exit /b 1
kubectl --context "%CONTEXT%" apply --filename "%APPLICATION%"
set "DONE=%ERRORLEVEL%"
del "%APPLICATION%"
if not "%DONE%"=="0" exit /b %DONE%
echo ArgoCD %SHERS_ARGOCD_VERSION% follows %REVISION% of %REPO%
exit /b 0
