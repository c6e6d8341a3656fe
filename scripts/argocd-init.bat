@echo off
rem ArgoCD into a cluster, and this repository under its care: the twin of scripts/argocd-init.
setlocal EnableExtensions
cd /d "%~dp0.."
set "CONTEXT=" & set "REPO=" & set "REVISION=main" & set "REGISTRY=" & set "ROLLOUTS="
:arguments
if "%~1"=="" goto begin
if /i "%~1"=="--help" goto usage
if /i "%~1"=="-h" goto usage
if /i "%~1"=="--rollouts" (set "ROLLOUTS=1" & shift & goto arguments)
if "%~2"=="" (echo scripts\argocd-init: %~1 needs a value 1>&2 & exit /b 1)
if /i "%~1"=="--context" (set "CONTEXT=%~2" & shift & shift & goto arguments)
if /i "%~1"=="--repo" (set "REPO=%~2" & shift & shift & goto arguments)
if /i "%~1"=="--registry" (set "REGISTRY=%~2" & shift & shift & goto arguments)
if /i "%~1"=="--revision" (set "REVISION=%~2" & shift & shift & goto arguments)
call :usage & exit /b 2

:usage
echo usage: scripts\argocd-init.bat --context NAME [--repo URL] [--revision BRANCH] [--registry PATH] [--rollouts]
echo.
echo Installs ArgoCD of a fixed version into the namespace argocd, waits for it, and applies the application of
echo applications (helm\argocd^), which from then on looks after itself and the house. There is no default for --context:
echo this must not hit the wrong cluster. May be stopped and called again at any time.
echo Environment: SHERS_ARGOCD_VERSION (v3.2.1^), SHERS_ARGOCD_MANIFEST, SHERS_ROLLOUTS_VERSION (v1.8.3^), SHERS_ROLLOUTS_MANIFEST,
echo SHERS_WAIT (10m^).
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

if defined ROLLOUTS (
  if not defined SHERS_ROLLOUTS_VERSION set "SHERS_ROLLOUTS_VERSION=v1.8.3"
  if not defined SHERS_ROLLOUTS_MANIFEST call set "SHERS_ROLLOUTS_MANIFEST=https://github.com/argoproj/argo-rollouts/releases/download/%%SHERS_ROLLOUTS_VERSION%%/install.yaml"
  kubectl --context "%CONTEXT%" get namespace argo-rollouts >nul 2>&1 || kubectl --context "%CONTEXT%" create namespace argo-rollouts || exit /b 1
  call kubectl --context "%CONTEXT%" apply --namespace argo-rollouts --server-side --force-conflicts --filename "%%SHERS_ROLLOUTS_MANIFEST%%" || exit /b 1
)

rem ArgoCD renders without asking the cluster, so the chart's own secrets would be others each time: made once, here.
set "APPLICATION=%TEMP%\shers-argocd-%RANDOM%.yaml"
kubectl --context "%CONTEXT%" get namespace shers >nul 2>&1 || kubectl --context "%CONTEXT%" create namespace shers || exit /b 1
kubectl --context "%CONTEXT%" get secret shers-secrets --namespace shers >nul 2>&1
if errorlevel 1 (
  helm template shers helm/shers --namespace shers --show-only templates/secret.yaml >"%APPLICATION%" || exit /b 1
  kubectl --context "%CONTEXT%" apply --namespace shers --filename "%APPLICATION%" || exit /b 1
  del "%APPLICATION%"
)

helm template shers-argocd helm/argocd --set-string "repository=%REPO%" --set-string "revision=%REVISION%" --set-string "registry=%REGISTRY%" --show-only templates/projects.yaml --show-only templates/root.yaml >"%APPLICATION%" || exit /b 1
kubectl --context "%CONTEXT%" apply --filename "%APPLICATION%"
set "DONE=%ERRORLEVEL%"
del "%APPLICATION%"
if not "%DONE%"=="0" exit /b %DONE%
echo ArgoCD %SHERS_ARGOCD_VERSION% follows %REVISION% of %REPO%
exit /b 0
