#!/usr/bin/env bash
# Installs what the project needs and the machine lacks; what is there is left alone. After it, nothing needs a network.
#   tools/setup.sh            what building, training and testing need
#   tools/setup.sh lint       also clang-format
#   tools/setup.sh browser    also Chromium, in which the dashboard's pages are tested
#   tools/setup.sh bench      also Debian's PyTorch, the peer of `make bench`
#   tools/setup.sh cuda-check only NVIDIA's run-time compiler, with which tests compile the kernels for a GPU; it needs none
set -euo pipefail
source "$(dirname "$0")/env.sh"

if [ "${1:-}" = cuda-check ]; then exec "$root/tools/setup-cuda-check.sh"; fi

sdk=$(dotnet --list-sdks 2>/dev/null | grep -E '^10\.' | tail -n 1 || true)
if [ -z "$sdk" ]; then
    die "The .NET 10 SDK is missing; everything here is built with it." \
        $'\n'"  fix: curl -sSL https://dot.net/v1/dotnet-install.sh | bash -s -- --channel 10.0" \
        $'\n'"       (installs into ~/.dotnet, where this script finds it; other ways: https://dot.net/download)"
fi

dotnet --list-runtimes | grep '^Microsoft.AspNetCore.App 10\.' >/dev/null ||
    die "The ASP.NET Core 10 runtime is missing; \`handbook serve\` needs it. Microsoft's SDK brings it." \
        $'\n'"  fix: apt-get install aspnetcore-runtime-10.0, or install the SDK with the script above"

# True where a libtorch to compile against is given: LIBTORCH, a Python installation with torch, or Debian's own.
has_libtorch() {
    [ -n "${LIBTORCH:-}" ] && return
    [ -e /usr/include/torch/csrc/autograd/function.h ] && return
    command -v python3 >/dev/null && python3 - <<'PY'
import importlib.util, os, sys
spec = importlib.util.find_spec("torch")
sys.exit(0 if spec and os.path.exists(os.path.join(spec.submodule_search_locations[0], "include/torch/csrc/autograd/function.h")) else 1)
PY
}

packages=()
command -v g++ >/dev/null || packages+=(g++ libc6-dev)
command -v cmake >/dev/null || packages+=(cmake)
command -v tc >/dev/null || packages+=(iproute2)         # two hosts on one machine, for a test
{ command -v make || command -v ninja; } >/dev/null || packages+=(make)
if ! has_libtorch; then packages+=(libtorch-dev); fi
# PyTorch from Debian computes with the system's BLAS. Its pthread flavour fights libtorch's OpenMP threads for the cores:
# 4 to 7 times slower. A libtorch from elsewhere brings its own.
if [ -z "${LIBTORCH:-}" ] && ! compgen -G '/usr/lib/*/openblas-openmp/libblas.so.3' >/dev/null; then packages+=(libopenblas0-openmp); fi
for feature in "$@"; do
    case $feature in
        lint) command -v clang-format >/dev/null || packages+=(clang-format) ;;
        browser) command -v chromium >/dev/null || packages+=(chromium) ;;
        bench) [ -e /usr/lib/python3/dist-packages/torch/__init__.py ] || packages+=(python3-torch) ;;
        *) die "tools/setup.sh: unknown feature '$feature'; there are: lint, browser, bench, cuda-check" ;;
    esac
done

if [ ${#packages[@]} -gt 0 ]; then
    say "set-up: installing Debian packages: ${packages[*]}"
    install="apt-get install -y --no-install-recommends ${packages[*]}"
    command -v apt-get >/dev/null || die "This machine has no apt. Install the equivalents of: ${packages[*]}" \
        $'\n'"  (a libtorch from elsewhere is named with LIBTORCH=/path/to/libtorch)"
    if [ "$(id -u)" = 0 ]; then as_root=()
    elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then as_root=(sudo)
    else die "Not root, and no sudo that works without a password." $'\n'"  fix: have an administrator run:  apt-get update && $install"
    fi
    apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get "$@" >&2; }
    if ! apt install -y -q --no-install-recommends "${packages[@]}"; then
        say "set-up: refreshing the package lists and trying again"
        apt update -q
        apt install -y -q --no-install-recommends "${packages[@]}" ||
            die "apt could not install the packages (its message is above)." $'\n'"  fix: repair apt, or install by hand:  $install"
    fi
fi

# Process groups are compiled against Gloo's headers. Without them one process still trains, so nobody is stopped for want of them.
if [ ! -e /usr/include/gloo/context.h ] && command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then
    say "set-up: installing Debian packages: libgloo-dev libfmt-dev"
    if [ "$(id -u)" = 0 ]; then as_root=(); else as_root=(sudo); fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends libgloo-dev libfmt-dev >&2 ||
        say "set-up: Gloo's headers could not be installed; all works but training with several processes"
fi

# A restore is due where a project's list of packages is newer than what was restored for it.
for project in "$root"/src/*/*.csproj "$root"/tests/*/*.csproj; do
    assets=$(dirname "$project")/obj/project.assets.json
    if [ ! -e "$assets" ] || [ "$project" -nt "$assets" ] || [ "$root/Directory.Packages.props" -nt "$assets" ]; then
        say "set-up: restoring NuGet packages"
        dotnet restore "$root/Handbook.slnx" -v q >&2
        find "$root/src" "$root/tests" -name project.assets.json -exec touch {} +
        break
    fi
done
