#!/bin/bash
# A Slurm job for each recipe, loss and strength of the scan: 2 x 3 x 10 = 60. Call it from the repository's root; words are handed to sbatch:
#   bash recipes/pref_align_scan/launch_scan.sh --nodes=1 --partition=NAME
# CONFIGS, LOSSES, BETAS and ACCELERATOR narrow it:
#   LOSSES=ipo BETAS="0.01 0.1" bash recipes/pref_align_scan/launch_scan.sh
set -euo pipefail

for config in ${CONFIGS:-zephyr openhermes}; do
    for loss in ${LOSSES:-sigmoid kto_pair ipo}; do
        for beta in ${BETAS:-0.01 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9}; do
            sbatch --job-name="scan-$config-$loss-$beta" "$@" recipes/launch.slurm \
                --model pref_align_scan --task dpo --config "$config" --accelerator "${ACCELERATOR:-zero3}" \
                --args "--loss_type=$loss --beta=$beta --output_dir=data/$config-7b-align-scan-$loss-beta-$beta"
        done
    done
done
