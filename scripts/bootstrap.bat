@echo off
rem Gets the project, or brings it up to date, and says which tools are missing: the twin of scripts/bootstrap.
setlocal EnableExtensions
set "REPO=" & set "DIR="
:arguments
if "%~1"=="" goto begin
if /i "%~1"=="--help" goto usage
if /i "%~1"=="-h" goto usage
if /i "%~1"=="--repo" (
  if "%~2"=="" (echo scripts\bootstrap: --repo needs a URL 1>&2 & exit /b 1)
  set "REPO=%~2" & shift & shift & goto arguments
)
set "DIR=%~1" & shift & goto arguments

:usage
echo usage: scripts\bootstrap.bat [--repo URL] [DIR]
echo.
echo Inside a clone: fetches and moves the current branch forward, if nothing of it was changed here.
echo Outside: clones URL into DIR (default .\shers^). Then says which tools are there and what the missing ones are for.
echo Exits with 1 when one is missing that the demo needs. May be stopped and called again at any time.
exit /b 0

:begin
where git >nul 2>&1 || (echo scripts\bootstrap: git is missing; install it first 1>&2 & exit /b 1)
if not defined REPO if not defined DIR (
  git -C "%~dp0.." rev-parse --git-dir >nul 2>&1 && set "DIR=%~dp0.."
)
if not defined DIR set "DIR=.\shers"
if exist "%DIR%\.git" goto update
if not defined REPO (echo scripts\bootstrap: %DIR% is no clone; say where from with --repo URL 1>&2 & exit /b 1)
rem Under another name until it is whole, so that a clone broken off is not taken for one.
if exist "%DIR%.part" rmdir /s /q "%DIR%.part"
git clone --quiet "%REPO%" "%DIR%.part" || exit /b 1
move "%DIR%.part" "%DIR%" >nul || exit /b 1
echo cloned into %DIR%
goto tools

:update
git -C "%DIR%" diff --quiet HEAD || (echo %DIR% has changes that are not committed; it stays as it is & goto tools)
git -C "%DIR%" rev-parse --abbrev-ref "@{upstream}" >nul 2>&1 || (echo %DIR% follows no remote branch; it stays as it is & goto tools)
git -C "%DIR%" pull --ff-only --quiet || exit /b 1
echo %DIR% is up to date

:tools
set "MISSING=0"
call :tool cargo needed "the demo and everything else; from rustup.rs, with the C++ build tools that it asks for"
call :tool node optional "tests of the dashboard"
call :tool docker optional "images and docker\compose.yaml"
call :tool minikube optional "a cluster on this machine (scripts\minikube-up.bat)"
call :tool kubectl optional "looking into a cluster, ArgoCD (scripts\argocd-init.bat)"
call :tool helm optional "the chart (scripts\minikube-up.bat)"
if "%MISSING%"=="1" exit /b 1
echo next: cargo run --release -- demo
exit /b 0

:tool
where %1 >nul 2>&1 && (echo ok       %1 & exit /b 0)
echo missing  %1: %~3
if "%2"=="needed" set "MISSING=1"
exit /b 0
