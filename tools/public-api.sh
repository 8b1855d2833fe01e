#!/usr/bin/env bash
# Lists what each library shows to others in its PublicAPI.Unshipped.txt. At a release, `tools/public-api.sh ship` makes that list the shipped one.
set -euo pipefail
source "$(dirname "$0")/env.sh"

export LC_ALL=C
empty='#nullable enable'
# A failure leaves the lists as they were.
before=$(mktemp -d)
cp --parents "$root"/src/*/PublicAPI.*.txt "$before"
trap 'cp -r "$before$root/." "$root"; rm -rf "$before"' EXIT
for project in "$root"/src/*/*.csproj; do
    grep -q '<IsPackable>true' "$project" || continue
    folder=$(dirname "$project")
    for list in Shipped Unshipped; do
        file=$folder/PublicAPI.$list.txt
        if [ $list = Unshipped ] || [ "${1:-}" = ship ] || [ ! -e "$file" ]; then echo "$empty" > "$file"; fi
    done
done

# RS0016 names each symbol that no list has, RS0017 each line of a list that has no symbol any more.
log=$root/build/public-api.log
mkdir -p "$root/build"
dotnet msbuild "$root/src/Handbook/Handbook.csproj" -restore -t:Rebuild -p:Configuration=Release -p:RunAnalyzers=true \
    '-p:WarningsNotAsErrors="RS0016;RS0017"' -tl:off -v:q -nologo -clp:NoSummary > "$log" || {
    grep -F ': error ' "$log" | sort -u >&2
    die "the libraries do not build (their messages are above)."
}
lost=$(sed -n "s/.*warning RS0017: \(.*\) \[.*/  \1/p" "$log" | sort -u)
[ -z "$lost" ] || die "shipped, and not there any more; a line *REMOVED*… in PublicAPI.Unshipped.txt says that it is meant:" $'\n'"$lost"
for project in "$root"/src/*/PublicAPI.Unshipped.txt; do
    folder=$(dirname "$project")
    symbols=$(sed -n "s|.*warning RS0016: Symbol '\(.*\)' is not part of the declared public API.* \[$folder/.*|\1|p" "$log" | sort -u)
    list=$folder/PublicAPI.Unshipped.txt
    if [ "${1:-}" = ship ]; then list=$folder/PublicAPI.Shipped.txt; fi
    { echo "$empty"; if [ -n "$symbols" ]; then echo "$symbols"; fi; } > "$list"
    say "public API: $(basename "$folder") $(grep -c . <<< "$symbols" || true)"
done
trap 'rm -rf "$before"' EXIT
