#!/usr/bin/env bash
# The demo: data of our own, a tokenizer, a new model; it reads, it learns to answer, and it is asked what it was never asked before.
# Everything lies in data/tiny and runs/tiny-*; running it again begins afresh.
set -euo pipefail
source "$(dirname "$0")/env.sh"
cd "$root"
export HANDBOOK_NO_BUILD=1
started=$SECONDS
step() { say "" "${1:+── $1}"; say "\$ ./handbook ${*:2}"; ./handbook "${@:2}"; }
ask() { ./handbook generate "$1" --prompts data/tiny/sft/test.jsonl --expect answer --batch-size 64 --max-new-tokens 24 --output "$2" | tail -n 1; }

rm -rf data/tiny runs/tiny-init runs/tiny-cpt runs/tiny-sft
step "1 of 5: data" demo-data --output data/tiny --seed 17
step "2 of 5: a tokenizer and a new model" tokenizer train data/tiny/text/train.jsonl data/tiny/sft/train.jsonl --vocab-size 1024 \
    --eos-token "<|endoftext|>" --special-token "<|im_start|>" --special-token "<|im_end|>" \
    --chat-template recipes/tiny/chat.jinja --model-max-length 512 --output data/tiny/tokenizer
step "" init --config recipes/tiny/config.json --tokenizer data/tiny/tokenizer --output runs/tiny-init --force
step "3 of 5: it reads" cpt recipes/tiny/cpt.yaml --fresh=true
say "" "asking the held-out questions"
before=$(ask runs/tiny-cpt runs/tiny-cpt/answers.jsonl)
step "4 of 5: it learns to answer" sft recipes/tiny/sft.yaml --fresh=true
say "" "── 5 of 5: asking the held-out questions again"
after=$(ask runs/tiny-sft runs/tiny-sft/answers.jsonl)

echo
echo "held-out questions answered exactly:"
printf '  %-34s %s\n' "after reading (runs/tiny-cpt)" "${before#accuracy }" "after fine-tuning (runs/tiny-sft)" "${after#accuracy }"
echo "loss plots: runs/tiny-cpt/loss.svg, runs/tiny-sft/loss.svg"
echo
echo "a dialogue with runs/tiny-sft (yours: ./handbook chat runs/tiny-sft):"
questions=("Where does Anna live?" "Which letter comes after d?" "Here are three words: river, bread, sun. What is the first word?")
mapfile -t answers < <(printf '%s\n/reset\n' "${questions[@]}" | ./handbook chat runs/tiny-sft --max-new-tokens 24 2>/dev/null)
for i in "${!questions[@]}"; do printf '  > %s\n  %s\n' "${questions[i]}" "${answers[i]:-}"; done
say "" "done in $((SECONDS - started)) s"
