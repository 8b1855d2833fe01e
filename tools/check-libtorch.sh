#!/usr/bin/env bash
# Builds the native library against other releases of libtorch and runs the tests of engine, models and training on them, each in a folder with a Debian of its own:
#   tools/check-libtorch.sh                       Debian 13 (libtorch 2.6) and unstable (the newest)
#   tools/check-libtorch.sh cuda                  Debian 13's libtorch for CUDA (2.6), which needs no card for this; 2.7 GB of packages, not all free
#   tools/check-libtorch.sh trixie [-class NAME]  one of them; what follows is for the test runner, in place of its default filter
# Needs root, and the .NET tests built. The folders stay in build/libtorch, so that a second run installs nothing.
set -euo pipefail
source "$(dirname "$0")/env.sh"

suites=(trixie sid)
case ${1:-} in
    trixie | sid | cuda) suites=("$1"); shift ;;
    '') ;;
    *) die "tools/check-libtorch.sh: unknown release '$1'; there are: trixie, sid, cuda" ;;
esac
filters=("$@")
if [ ${#filters[@]} = 0 ]; then filters=(-trait- speed=slow -trait- needs=gpu); fi
[ "$(id -u)" = 0 ] || die "make check-libtorch makes root folders of other Debian releases, which only root can." \
    $'\n'"  fix: run it as root, or point LIBTORCH at an unpacked libtorch and run make test"

work=$root/build/libtorch
mkdir -p "$work"
# Where .NET lies: the command may be a link or a script.
dotnet=$(dotnet --list-runtimes | sed -n 's/^Microsoft.NETCore.App 10\..* \[\(.*\)\/shared\/Microsoft.NETCore.App\]$/\1/p' | tail -n 1)
shared=$(cd "${HANDBOOK_SHARED:-$root/../shared}" 2>/dev/null && pwd || true)

# A Debian with a compiler and libtorch, whole or not at all: the stamp is written last.
make_folder() {
    local name=$1 suite=$1 folder=$work/$1 components=main
    local packages=g++,cmake,make,libtorch-dev,libgloo-dev,libfmt-dev,libopenblas0-openmp,libgomp1
    if [ "$name" = cuda ]; then
        suite=trixie components=main,contrib,non-free
        packages=g++,cmake,make,libfmt-dev,libopenblas0-openmp,libgomp1,ca-certificates
    fi
    [ "$(cat "$folder/.ready" 2>/dev/null)" = "$packages" ] && return
    if ! command -v debootstrap >/dev/null; then
        say "set-up: installing debootstrap"
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends debootstrap >&2 ||
            { apt-get update -q >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends debootstrap >&2; }
    fi
    say "set-up: Debian $suite with libtorch into build/libtorch/$name (once; some minutes)"
    rm -rf --one-file-system "$folder"
    {
        debootstrap --variant=minbase --components="$components" --include="$packages" "$suite" "$folder" &&
            if [ "$name" = cuda ]; then add_cuda "$folder"; fi
    } > "$work/$name-set-up.log" 2>&1 || {
        tail -n 20 "$work/$name-set-up.log" >&2
        die "Debian $suite could not be set up; the whole log is build/libtorch/$name-set-up.log."
    }
    printf '%s' "$packages" > "$folder/.ready"
}

# The CUDA build with its headers and NCCL's. Debian's nvidia-cudnn would download cuDNN from NVIDIA under a licence that a person accepts; an
# empty package takes its place, and a library of its functions that end the process: none is called without a card.
add_cuda() {
    local folder=$1
    mkdir -p "$folder/opt/nvidia-cudnn/DEBIAN"
    printf '%s\n' 'Package: nvidia-cudnn' 'Version: 9.99' 'Architecture: all' 'Maintainer: nobody' 'Description: stands in for cuDNN' \
        > "$folder/opt/nvidia-cudnn/DEBIAN/control"
    echo 'deb http://deb.debian.org/debian trixie main contrib non-free' > "$folder/etc/apt/sources.list"
    cp /etc/resolv.conf "$folder/etc/resolv.conf"
    # shellcheck disable=SC2016  # expanded by the inner shell
    inside "$folder" bash -euo pipefail -c '
        export DEBIAN_FRONTEND=noninteractive
        dpkg-deb -b /opt/nvidia-cudnn /opt/nvidia-cudnn.deb
        dpkg -i /opt/nvidia-cudnn.deb
        apt-get update -q
        apt-get install -y -q --no-install-recommends libtorch-cuda-dev libgloo-cuda-dev libnccl-dev nvidia-cuda-dev
        apt-get clean
        lib=/usr/lib/x86_64-linux-gnu
        nm -D --undefined-only $lib/libtorch_cuda.so | sed -n "s/^ *U \(cudnn[A-Za-z0-9_]*\).*/void \1(void) { abort(); }/p" | sort -u > /opt/cudnn.c
        echo "libcudnn.so.9 { global: *; };" > /opt/cudnn.versions
        gcc -shared -fPIC -include stdlib.h -Wl,-soname,libcudnn.so.9 -Wl,--version-script=/opt/cudnn.versions -o $lib/libcudnn.so.9 /opt/cudnn.c'
}

# Runs a command inside the folder. The mounts belong to a name space of their own, so that none is left behind however it ends.
inside() {
    local folder=$1
    shift
    # shellcheck disable=SC2016  # expanded by the inner shell
    unshare --mount --propagation private bash -euc '
        folder=$1 root=$2 dotnet=$3 shared=$4
        shift 4
        bind() { mkdir -p "$folder$1"; mount --bind "$1" "$folder$1"; }
        bind "$root"
        bind "$dotnet"
        if [ -n "$shared" ]; then bind "$shared"; fi
        mount -t proc proc "$folder/proc"
        mount --rbind /dev "$folder/dev"
        mount -t tmpfs tmpfs "$folder/tmp"
        exec chroot "$folder" env -i HOME=/root PATH="$dotnet:/usr/bin:/bin:/usr/sbin:/sbin" LANG=C.UTF-8 \
            DOTNET_ROOT="$dotnet" DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1 DOTNET_NOLOGO=1 HANDBOOK_SHARED="$shared" "$@"
    ' inside "$folder" "$root" "$dotnet" "$shared" "$@"
}

failed=()
for suite in "${suites[@]}"; do
    make_folder "$suite"
    folder=$work/$suite
    native=$work/$suite-native
    say "build: native library on $suite"
    if ! inside "$folder" bash -euc '
            cmake -S "$1/native" -B "$2/cmake" -DCMAKE_BUILD_TYPE=Release -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$2"
            cmake --build "$2/cmake" --parallel' build "$root" "$native" > "$work/$suite-build.log" 2>&1; then
        tail -n 40 "$work/$suite-build.log" >&2
        failed+=("$suite: the native library did not build")
        continue
    fi
    say "$suite: $(sed -n 's/^-- \(libtorch [0-9.]*\).*/\1/p' "$work/$suite-build.log")"
    for project in Handbook.Torch.Tests Handbook.Models.Tests Handbook.Training.Tests; do
        say "test: $project on $suite"
        inside "$folder" env HANDBOOK_NATIVE="$native" \
            dotnet exec "$root/tests/$project/bin/Release/net10.0/$project.dll" "${filters[@]}" -noLogo -noColor -noAutoReporters ||
            failed+=("$suite: $project")
    done
done
for line in "${failed[@]}"; do echo "failed: $line"; done
[ ${#failed[@]} = 0 ]
