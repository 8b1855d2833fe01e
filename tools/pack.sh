#!/usr/bin/env bash
# Packs the built libraries into build/packages, or the folder that is named. Build first: `make pack` does both.
set -euo pipefail
source "$(dirname "$0")/env.sh"

folder=${1:-$root/build/packages}
[ -e "$root/build/native/libhandbook_torch.so" ] || die "there is no native library to pack" $'\n'"  fix: make build"
mkdir -p "$folder"
rm -f "$folder"/Handbook*.nupkg
for project in Handbook.Base Handbook.Torch Handbook.Text Handbook.Data Handbook.Models Handbook.Training Handbook; do
    dotnet pack "$root/src/$project/$project.csproj" -c Release --no-build -o "$folder" -v q -nologo >&2
done
say "pack: $(find "$folder" -name 'Handbook*.nupkg' | wc -l) packages in $folder"
