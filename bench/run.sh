#!/usr/bin/env bash
# make bench: speed beside the peers, in one run; a table, and bench/results/latest.json.
#   bench/run.sh [--quick] [--only NAME]
#   HANDBOOK_CPU=avx2 bench/run.sh …     the same as on a processor with AVX2 alone, peers included; rows end in -avx2
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
dotnet build "$root/bench/Handbook.Bench" -c Release -v q -clp:NoSummary >&2
exec "$root/bench/Handbook.Bench/bin/Release/net10.0/Handbook.Bench" run "$@"
