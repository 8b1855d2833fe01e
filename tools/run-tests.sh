#!/usr/bin/env bash
# Runs the built test projects and ends with "N passed, N failed". A test process that dies counts as a failure.
#   tools/run-tests.sh              without the tests marked slow, and without those that need a GPU
#   tools/run-tests.sh all          the slow ones too (and the GPU ones where there is a GPU)
#   tools/run-tests.sh fuzz [N]     damaged files of every kind, N of each (200,000), and random texts; HANDBOOK_FUZZ=N does the same
#   tools/run-tests.sh golden DIR   only the golden cases, of another shared folder; a case that cannot run yet is a failure
set -uo pipefail
source "$(dirname "$0")/env.sh"

if [ "${HANDBOOK_CPU:-}" = avx2 ]; then export DOTNET_EnableAVX512=0; fi     # .NET has to know before it starts
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
    fuzz)
        HANDBOOK_FUZZ=${2:-200000}
        export HANDBOOK_FUZZ HANDBOOK_TEST_TIMEOUT=${HANDBOOK_TEST_TIMEOUT:-86400}
        filters=(-trait kind=fuzz)
        ;;
    *) die "tools/run-tests.sh: unknown kind '$kind'; there are: quick, all, fuzz [N], golden DIR" ;;
esac

results=$root/build/test-results
rm -rf "$results"
mkdir -p "$results"
passed=0 failed=0 skipped=0 broken=()
attribute() { sed -n "s/.*<assembly [^>]*[[:space:]]$2=\"\([0-9]*\)\".*/\1/p" "$1" | head -n 1; }
# One test project, in a process of its own; what is named after it is set in its environment.
run() {
    local name=$1 report=$results/$1${2:+-${2#*=}}.xml
    local program=$root/tests/$name/bin/Release/net10.0/$name.dll
    shift
    say "test: $name${*:+ with $*}"
    if [ ! -e "$program" ]; then broken+=("$name: not built"); return; fi
    status=0
    env "$@" timeout --kill-after=10 "${HANDBOOK_TEST_TIMEOUT:-3600}" \
        dotnet exec "$program" "${filters[@]}" -noLogo -noColor -noAutoReporters -result-xml "$report" </dev/null || status=$?
    if [ ! -s "$report" ] || [ -z "$(attribute "$report" total)" ]; then
        broken+=("$name${*:+ with $*}: ended with status $status before its report")
        return
    fi
    passed=$((passed + $(attribute "$report" passed)))
    failed=$((failed + $(attribute "$report" failed) + $(attribute "$report" errors)))
    skipped=$((skipped + $(attribute "$report" skipped)))
    if [ $status -ne 0 ] && [ "$(attribute "$report" failed)" = 0 ] && [ "$(attribute "$report" errors)" = 0 ]; then
        broken+=("$name${*:+ with $*}: ended with status $status after its report")
    fi
}

for project in "$root"/tests/*.Tests/; do run "$(basename "$project")"; done
# Kernels and products once more on each lesser path of this processor.
if [ "$kind" != golden ] && [ "$kind" != fuzz ] && [ -z "${HANDBOOK_CPU:-}" ]; then
    filters+=(-trait- needs=processes -trait- needs=nvrtc)     # what goes between processes, or to a GPU, is the same
    has() { for flag in "$@"; do grep -qw -m 1 "$flag" /proc/cpuinfo || return 1; done; }
    if has avx512f avx512bw avx512dq avx512vl; then
        if has avx512_bf16; then run Handbook.Torch.Tests HANDBOOK_CPU=avx512; fi
        run Handbook.Torch.Tests HANDBOOK_CPU=avx2 DOTNET_EnableAVX512=0
    fi
fi
echo
for line in "${broken[@]}"; do echo "failed: $line"; done
failed=$((failed + ${#broken[@]}))
if [ $((passed + failed + skipped)) = 0 ]; then echo "failed: no test was found"; failed=1; fi
if [ $skipped -gt 0 ]; then echo "$skipped skipped; each says why above"; fi
echo "$passed passed, $failed failed"
[ $failed = 0 ]
