#!/usr/bin/env bash
# Set-up, native library, .NET: everything the launcher needs, or with `all` the tests too. Speaks on stderr only.
set -euo pipefail
source "$(dirname "$0")/env.sh"

mkdir -p "$root/build"
exec 9> "$root/build/.lock"
flock 9     # two launchers started at once build once
stamp=$root/build/built
started=$(mktemp "$root/build/.started.XXXXXX")
trap 'rm -f "$started"' EXIT

"$root/tools/setup.sh" 9>&-
"$root/tools/build-native.sh" 9>&-
what=src/Handbook.Cli/Handbook.Cli.csproj
if [ "${1:-}" = all ]; then what=Handbook.slnx; fi
say "build: $what"
dotnet msbuild "$root/$what" -restore -p:Configuration=Release -v:q -nologo -clp:ErrorsOnly >&2 9>&-
# The build itself touches the folders it writes bin and obj into. If no source was edited meanwhile, everything is older than now.
if [ -z "$(find "$root/src" "$root/native" \( -name bin -o -name obj \) -prune -o -type f -newer "$started" -print -quit 2>/dev/null)" ]; then
    touch "$started"
fi
mv "$started" "$stamp"
