#!/usr/bin/env bash
# Puts NVIDIA's run-time compiler (Debian 13, non-free: libnvrtc12 with its builtins) into the cache folder, where tests and program find it.
# apt fetches and checks the packages with lists of its own, and nothing is installed: no root is needed, and the system stays as it is.
set -euo pipefail
source "$(dirname "$0")/env.sh"

folder=${HANDBOOK_CACHE:-$HOME/.cache/handbook}/nvrtc
packages=(libnvrtc12 libnvrtc-builtins12.4)
stamp="trixie ${packages[*]}"
if [ "$(cat "$folder/.ready" 2>/dev/null)" = "$stamp" ]; then exit 0; fi
[ "$(uname -m)" = x86_64 ] || die "set-up: $(uname -m) has no packages of NVRTC here; set HANDBOOK_NVRTC to CUDA's libnvrtc."
for tool in apt-get dpkg-deb; do
    command -v $tool >/dev/null || die "set-up: this machine has no $tool, which fetches NVRTC from Debian." \
        $'\n'"  fix: install CUDA's libnvrtc, or set HANDBOOK_NVRTC to its file or folder"
done
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$keys" ] || die "set-up: $keys is missing, with which Debian's packages are checked." $'\n'"  fix: apt-get install debian-archive-keyring"

say "set-up: NVIDIA's run-time compiler from Debian 13's non-free packages into $folder (18 MB, once)"
mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$(dirname "$folder")/.nvrtc.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists/partial,cache/archives/partial,new}
echo "deb [arch=amd64 signed-by=$keys] http://deb.debian.org/debian trixie non-free" > "$work/sources.list"
apt() {
    (cd "$work" && apt-get -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$work/lists" \
        -o Dir::Cache="$work/cache" -o APT::Sandbox::User="$(id -un)" -o APT::Get::List-Cleanup=0 "$@" >&2)
}
apt update
apt download "${packages[@]}"
for package in "$work"/*.deb; do dpkg-deb -x "$package" "$work/unpacked"; done
mv "$work"/unpacked/usr/lib/x86_64-linux-gnu/*.so* "$work/new/"
mv "$work"/unpacked/usr/share/doc "$work/new/doc"       # the licences
[ -e "$work/new/libnvrtc.so.12" ] || die "set-up: Debian's packages have no libnvrtc.so.12"
printf '%s' "$stamp" > "$work/new/.ready"
rm -rf "$folder"
mv "$work/new" "$folder"
