#!/usr/bin/env bash
# The demo: data of our own, a tokenizer, a new model; it reads, it learns to answer, and it is asked what it was never asked before.
# Everything lies in data/tiny and runs/tiny-*; running it again begins afresh. DEMO_SEED and DEMO_FOLDER set another seed and another place, DEMO_SCALE the
# size of its data. With ADAPTER=lora or qlora it learns to answer and to prefer twice: with all its weights, and with adapters.
set -euo pipefail
source "$(dirname "$0")/env.sh"
case "${ADAPTER:=}" in
    ""|lora|qlora) ;;
    *) printf 'error: ADAPTER is %s\n  fix: ADAPTER=lora or ADAPTER=qlora, or leave it out\n' "$ADAPTER" >&2; exit 2 ;;
esac
mkdir -p "${DEMO_FOLDER:-$root}" && cd "${DEMO_FOLDER:-$root}"
[ -e recipes ] || ln -s "$root/recipes" recipes
[ -e handbook ] || ln -s "$root/handbook" handbook
export HANDBOOK_NO_BUILD=1
started=$SECONDS
step() { say "" "${1:+── $1}"; say "\$ ./handbook ${*:2}"; ./handbook "${@:2}"; }
# Eight answers to each question, drawn at temperature 1: what a model says, not only what it would say first.
ask() { ./handbook generate "$1" --prompts data/tiny/sft/test.jsonl --expect answer --temperature 1 --num-generations 8 --seed 17 --batch-size 64 --max-new-tokens 24 --output "$1/answers.jsonl" | tail -n 1; }
judge() { ./handbook score runs/tiny-reward "$1/answers.jsonl" --column completion=answer --fresh -o "$1/scores.jsonl" "${@:2}" | tail -n 1; }
talk() {
    echo "a dialogue with $1 (yours: ./handbook chat $1):"
    local questions=("Where does Anna live?" "Which letter comes after d?" "Here are three words: river, bread, sun. What is the first word?") answers i
    mapfile -t answers < <(printf '%s\n/reset\n' "${questions[@]}" | ./handbook chat "$1" --max-new-tokens 24 2>/dev/null)
    for i in "${!questions[@]}"; do printf '  > %s\n  %s\n' "${questions[i]}" "${answers[i]:-}"; done
    say "" "done in $((SECONDS - started)) s"
}
# The figure that a command ended with, and one of a result file, to four digits.
number() { sed -E 's/^(accuracy|win rate) ([0-9.]+).*/\2/' <<<"$1"; }
metric() { sed -n "s|.*\"$2\": *\([0-9.eE+-]*\).*|\1|p" "$1/eval_results.json" | xargs printf "%.4f"; }

rm -rf data/tiny runs/tiny-init runs/tiny-cpt runs/tiny-sft runs/tiny-reward runs/tiny-dpo runs/tiny-rejection-sample
step "1 of 7: data" demo-data --output data/tiny --seed "${DEMO_SEED:-17}" --scale "${DEMO_SCALE:-1}"
step "2 of 7: a tokenizer and a new model" tokenizer train data/tiny/text/train.jsonl data/tiny/sft/train.jsonl --vocab-size 1024 \
    --eos-token "<|endoftext|>" --special-token "<|im_start|>" --special-token "<|im_end|>" \
    --chat-template recipes/tiny/chat.jinja --model-max-length 512 --output data/tiny/tokenizer
step "" init --config recipes/tiny/config.json --tokenizer data/tiny/tokenizer --output runs/tiny-init --force --seed "${DEMO_SEED:-17}"
step "3 of 7: it reads" cpt recipes/tiny/cpt.yaml --fresh=true
read_accuracy=$(ask runs/tiny-cpt)
if [ -n "$ADAPTER" ]; then source "$root/tools/demo-adapter.sh"; exit; fi
step "4 of 7: it learns to answer" sft recipes/tiny/sft.yaml --fresh=true
sft_accuracy=$(ask runs/tiny-sft)
step "5 of 7: a second one learns which of two answers is better" reward recipes/tiny/reward.yaml --fresh=true
judge runs/tiny-sft >/dev/null
step "6 of 7: the first one learns to prefer the better answer" dpo recipes/tiny/dpo.yaml --fresh=true
dpo_accuracy=$(ask runs/tiny-dpo)
dpo_wins=$(judge runs/tiny-dpo --against runs/tiny-sft/scores.jsonl)
step "7 of 7: it learns from the best of its own answers" rejection-sample recipes/tiny/rejection-sample.yaml --fresh=true
last=runs/tiny-rejection-sample
rs_accuracy=$(ask "$last")
rs_wins=$(judge "$last" --against runs/tiny-sft/scores.jsonl)

row() { printf '  %-46s %10s %16s %10s\n' "$@"; }
say "" "held-out questions: right ones of eight answers at temperature 1; held-out pairs ranked right; answers that the reward model scores above the fine-tuned model's"
row "after" accuracy "reward accuracy" "win rate"
row "reading (runs/tiny-cpt)" "$(number "$read_accuracy")" "" ""
row "fine-tuning (runs/tiny-sft)" "$(number "$sft_accuracy")" "" "0.5000"
row "reward modelling (runs/tiny-reward)" "" "$(metric runs/tiny-reward eval_accuracy)" ""
row "DPO (runs/tiny-dpo)" "$(number "$dpo_accuracy")" "$(metric runs/tiny-dpo eval_rewards/accuracies)" "$(number "$dpo_wins")"
row "rejection sampling ($last)" "$(number "$rs_accuracy")" "" "$(number "$rs_wins")"
echo "loss plots: runs/tiny-*/loss.svg"
echo
talk "$last"
