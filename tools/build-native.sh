#!/usr/bin/env bash
# Builds build/native/libhandbook_torch.so when its sources, or the libtorch it was built for, have changed.
set -euo pipefail
source "$(dirname "$0")/env.sh"

library=$root/build/native/libhandbook_torch.so
stamp=$root/build/native/built-for
wanted="LIBTORCH=${LIBTORCH:-}"
[ -e "$root/native/CMakeLists.txt" ] || exit 0
if [ -e "$library" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] &&
    [ -z "$(find "$root/native" -newer "$library" -print -quit)" ]; then
    exit 0
fi
say "build: native library (once; under a minute)"
mkdir -p "$root/build/native"
rm -f "$root/build/native-cmake/CMakeCache.txt"
{
    cmake -S "$root/native" -B "$root/build/native-cmake" -DCMAKE_BUILD_TYPE=Release -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$root/build/native"
    cmake --build "$root/build/native-cmake" --parallel
} > "$root/build/native/build.log" 2>&1 || {
    tail -n 40 "$root/build/native/build.log" >&2
    die "The native library did not build; the whole log is build/native/build.log."
}
[ -e "$library" ] || die "The native build made no $library; its log is build/native/build.log."
touch "$library"
printf '%s' "$wanted" > "$stamp"
