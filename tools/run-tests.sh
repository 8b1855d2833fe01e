#!/usr/bin/env bash
# Runs the built test projects and ends with "N passed, N failed". A test process that dies counts as a failure.
#   tools/run-tests.sh              without the tests marked slow, and without those that need a GPU
#   tools/run-tests.sh all          the slow ones too (and the GPU ones where there is a GPU)
#   tools/run-tests.sh golden DIR   only the golden cases, of another shared folder; a case that cannot run yet is a failure
set -uo pipefail
source "$(dirname "$0")/env.sh"

kind=${1:-quick}
gpu=(-trait- needs=gpu)
if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then gpu=(); fi
case $kind in
    quick) filters=(-trait- speed=slow "${gpu[@]}") ;;
    all) filters=("${gpu[@]}") ;;
    golden)
        [ -d "${2:-}" ] || die "make golden SHARED=DIR: '${2:-}' is not a folder" $'\n'"  fix: name a folder with golden/, tokenizers/, chat-templates/"
        HANDBOOK_SHARED=$(cd "$2" && pwd)
        export HANDBOOK_SHARED HANDBOOK_GOLDEN=1
        filters=(-trait kind=golden "${gpu[@]}")
        ;;
    *) die "tools/run-tests.sh: unknown kind '$kind'; there are: quick, all, golden DIR" ;;
esac

results=$root/build/test-results
rm -rf "$results"
mkdir -p "$results"
passed=0 failed=0 skipped=0 broken=()
attribute() { sed -n "s/.*<assembly [^>]*[[:space:]]$2=\"\([0-9]*\)\".*/\1/p" "$1" | head -n 1; }
for project in "$root"/tests/*.Tests/; do
    name=$(basename "$project")
    program=$project/bin/Release/net10.0/$name.dll
    report=$results/$name.xml
    say "test: $name"
    if [ ! -e "$program" ]; then broken+=("$name: not built"); continue; fi
    status=0
    timeout --kill-after=10 "${HANDBOOK_TEST_TIMEOUT:-3600}" \
        dotnet exec "$program" "${filters[@]}" -noLogo -noColor -noAutoReporters -xml "$report" </dev/null || status=$?
    if [ ! -s "$report" ] || [ -z "$(attribute "$report" total)" ]; then
        broken+=("$name: ended with status $status before its report")
        continue
    fi
    passed=$((passed + $(attribute "$report" passed)))
    failed=$((failed + $(attribute "$report" failed) + $(attribute "$report" errors)))
    skipped=$((skipped + $(attribute "$report" skipped)))
    if [ $status -ne 0 ] && [ "$(attribute "$report" failed)" = 0 ] && [ "$(attribute "$report" errors)" = 0 ]; then
        broken+=("$name: ended with status $status after its report")
    fi
done
echo
for line in "${broken[@]}"; do echo "failed: $line"; done
failed=$((failed + ${#broken[@]}))
if [ $((passed + failed + skipped)) = 0 ]; then echo "failed: no test was found"; failed=1; fi
if [ $skipped -gt 0 ]; then echo "$skipped skipped; each says why above"; fi
echo "$passed passed, $failed failed"
[ $failed = 0 ]
