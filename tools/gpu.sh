#!/usr/bin/env bash
# make test-gpu and make bench-gpu: all that is to be found out on a GPU, in one go, on a machine with little more than a Python with PyTorch.
#   tools/gpu.sh test|bench [--dry] [--seconds N] [--only STAGE] [--out FILE]
# The native library is built against the libtorch that LIBTORCH names, else Python's torch. A program that was built elsewhere is taken as it
# is, so that a .NET runtime is enough; with --dry a device that stands in for a GPU computes, and the usual native library serves.
set -euo pipefail
source "$(dirname "$0")/env.sh"

kind=${1:-}
case $kind in
    test | bench) shift ;;
    *) die "usage: tools/gpu.sh test|bench [--dry] [--seconds N] [--only STAGE] [--out FILE]" ;;
esac
dry=
for word in "$@"; do if [ "$word" = --dry ]; then dry=1; fi; done

if ! command -v dotnet >/dev/null && [ -x "$root/.dotnet/dotnet" ]; then PATH=$root/.dotnet:$PATH; fi
command -v dotnet >/dev/null || die "There is no .NET 10 here, which the program runs on." \
    $'\n'"  fix: install it from https://dot.net/download, or put its folder into .dotnet of the repository"
dotnet --list-runtimes | grep '^Microsoft.NETCore.App 10\.' >/dev/null || die "The .NET here is not 10: $(dotnet --list-runtimes | head -n 1)" \
    $'\n'"  fix: put the folder of .NET 10 first in PATH, or into .dotnet of the repository"

program=$root/bench/Handbook.Bench/bin/Release/net10.0/Handbook.Bench.dll
if [ ! -e "$program" ]; then
    dotnet --list-sdks | grep '^10\.' >/dev/null || die "The program is not built, and this .NET has no SDK to build it." \
        $'\n'"  fix: run 'dotnet build bench/Handbook.Bench -c Release' elsewhere, and bring bench/Handbook.Bench/bin with the repository"
    dotnet build "$root/bench/Handbook.Bench" -c Release -v q -clp:NoSummary >&2
fi

if [ -n "$dry" ]; then
    "$root/tools/build-native.sh"
else
    nvidia-smi -L >&2 || die "nvidia-smi shows no GPU." $'\n'"  fix: use a machine with one, or rehearse: make $kind-gpu DRY=1"
    for tool in cmake g++; do
        command -v $tool >/dev/null || die "There is no $tool, which builds the native library." $'\n'"  fix: install it"
    done
    if [ -z "${LIBTORCH:-}" ]; then
        LIBTORCH=$(python3 -c 'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")' 2>/dev/null || true)
        [ -n "$LIBTORCH" ] || die "No libtorch was found: LIBTORCH names none, and python3 has no torch." \
            $'\n'"  fix: name an unpacked libtorch for CUDA with LIBTORCH, or put a Python with PyTorch first in PATH"
        export LIBTORCH
    fi
    ls "$LIBTORCH"/lib/libtorch_cuda.so >/dev/null || die "$LIBTORCH computes on the CPU alone." $'\n'"  fix: name one for CUDA with LIBTORCH"
    # beside the usual one, which other programs of the machine may use
    export HANDBOOK_NATIVE=$root/build/native-gpu
    begun=$(date +%s)
    mkdir -p "$HANDBOOK_NATIVE"
    {
        cmake -S "$root/native" -B "$root/build/native-gpu-cmake" -DCMAKE_BUILD_TYPE=Release -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$HANDBOOK_NATIVE"
        cmake --build "$root/build/native-gpu-cmake" --parallel
    } > "$HANDBOOK_NATIVE/build.log" 2>&1 || {
        tail -n 40 "$HANDBOOK_NATIVE/build.log" >&2
        die "The native library did not build; the whole log is build/native-gpu/build.log."
    }
    say "build: native library for $LIBTORCH in $(($(date +%s) - begun)) s"
fi
exec dotnet exec "$program" gpu "$kind" "$@"
