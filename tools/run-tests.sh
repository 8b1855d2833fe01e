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
attribute() { sed -n "s/.*<assembly [^>]*[[:space:]]$2=\"\([0-9]*\)\".*/\1/p" "$1" | head -n 1; }

# What is to run, a line each: the project, and what is set in its environment. The longest first, so that none is left over at the end.
runs=()
for name in Handbook.Cli.Tests Handbook.Tests Handbook.Training.Tests Handbook.Torch.Tests; do runs+=("$name"); done
# Kernels and products once more on each lesser path of this processor.
if [ "$kind" != golden ] && [ "$kind" != fuzz ] && [ -z "${HANDBOOK_CPU:-}" ]; then
    has() { for flag in "$@"; do grep -qw -m 1 "$flag" /proc/cpuinfo || return 1; done; }
    if has avx512f avx512bw avx512dq avx512vl; then
        if has avx512_bf16; then runs+=("Handbook.Torch.Tests HANDBOOK_CPU=avx512"); fi
        runs+=("Handbook.Torch.Tests HANDBOOK_CPU=avx2 DOTNET_EnableAVX512=0")
    fi
fi
for project in "$root"/tests/*.Tests/; do
    name=$(basename "$project")
    [[ " ${runs[*]} " == *" $name "* ]] || runs+=("$name")
done

# One test project, in a process of its own. What it prints comes as a whole at its end, for two run at a time: tests that wait for the
# processes they start leave some of the processor free. On two cores that saves about a tenth; HANDBOOK_TEST_LANES=1 runs one at a time.
run() {
    local name=$1 key=$1${2:+-${2#*=}}
    local program=$root/tests/$name/bin/Release/net10.0/$name.dll
    shift
    say "test: $name${*:+ with $*} (begun)"
    local status=0 chosen=("${filters[@]}")
    # What goes between processes, or to a GPU, is the same on a lesser path.
    if [ $# -gt 0 ]; then chosen+=(-trait- needs=processes -trait- needs=nvrtc -namespace- "Handbook.Torch.Tests.Cuda*"); fi
    if [ -e "$program" ]; then
        env "$@" timeout --kill-after=10 "${HANDBOOK_TEST_TIMEOUT:-3600}" dotnet exec "$program" "${chosen[@]}" \
            -noLogo -noColor -noAutoReporters -result-xml "$results/$key.xml" </dev/null >"$results/$key.log" 2>&1 || status=$?
    else
        status="not built"
    fi
    echo "$status" > "$results/$key.status"
    { flock 9; say "test: $name${*:+ with $*}"; if [ -e "$results/$key.log" ]; then cat "$results/$key.log"; fi; } 9>"$results/printing"
}
lanes=${HANDBOOK_TEST_LANES:-2}
for each in "${runs[@]}"; do
    while [ "$(jobs -pr | wc -l)" -ge "$lanes" ]; do wait -n; done
    run $each &     # unquoted: a project and its settings
done
wait

passed=0 failed=0 skipped=0 broken=()
for each in "${runs[@]}"; do
    read -r name setting _ <<<"$each"
    report=$results/$name${setting:+-${setting#*=}}.xml
    status=$(cat "${report%.xml}.status")
    if [ "$status" = "not built" ]; then broken+=("$name: not built"); continue; fi
    if [ ! -s "$report" ] || [ -z "$(attribute "$report" total)" ]; then
        broken+=("$each: ended with status $status before its report")
        continue
    fi
    passed=$((passed + $(attribute "$report" passed)))
    failed=$((failed + $(attribute "$report" failed) + $(attribute "$report" errors)))
    skipped=$((skipped + $(attribute "$report" skipped)))
    if [ "$status" != 0 ] && [ "$(attribute "$report" failed)" = 0 ] && [ "$(attribute "$report" errors)" = 0 ]; then
        broken+=("$each: ended with status $status after its report")
    fi
done
echo
for line in "${broken[@]}"; do echo "failed: $line"; done
failed=$((failed + ${#broken[@]}))
if [ $((passed + failed + skipped)) = 0 ]; then echo "failed: no test was found"; failed=1; fi
if [ $skipped -gt 0 ]; then echo "$skipped skipped; each says why above"; fi
echo "$passed passed, $failed failed"
[ $failed = 0 ]
