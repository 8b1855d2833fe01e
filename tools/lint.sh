#!/usr/bin/env bash
# Formatting of C# and C++, style, analyzers. `tools/lint.sh fix` repairs what can be repaired.
set -uo pipefail
source "$(dirname "$0")/env.sh"

"$root/tools/setup.sh" lint || exit 1
mapfile -t native < <(find "$root/native" "$root/src/Handbook.Torch/Cuda" "$root/tests/Handbook.Torch.Tests/Cuda" \
    \( -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' \) 2>/dev/null)
if [ "${1:-}" = fix ]; then
    dotnet format whitespace "$root/Handbook.slnx" --no-restore && dotnet format style "$root/Handbook.slnx" --no-restore
    if [ ${#native[@]} -gt 0 ]; then clang-format -i "${native[@]}"; fi
    exit
fi
status=0
say "lint: whitespace"
dotnet format whitespace "$root/Handbook.slnx" --no-restore --verify-no-changes || status=1
say "lint: style"
dotnet format style "$root/Handbook.slnx" --no-restore --verify-no-changes --severity warn || status=1
say "lint: analyzers, as errors"
dotnet msbuild "$root/Handbook.slnx" -p:Configuration=Release -v:q -nologo -clp:ErrorsOnly || status=1
if [ ${#native[@]} -gt 0 ]; then
    say "lint: clang-format"
    clang-format --dry-run --Werror "${native[@]}" || status=1
fi
if [ $status = 0 ]; then echo "lint: clean"; else echo "lint: problems above; 'make format' repairs formatting"; fi
exit $status
