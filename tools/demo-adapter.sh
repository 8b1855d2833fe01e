# The second half of the demo where adapters are asked for: demo.sh reads it, with ADAPTER=lora or qlora. Every stage runs twice, with all weights and with an
# adapter, and says how much memory it took at most.
sft="runs/tiny-sft-$ADAPTER" dpo="runs/tiny-dpo-$ADAPTER" sft_merged="runs/tiny-sft-$ADAPTER-merged" dpo_merged="runs/tiny-dpo-$ADAPTER-merged"
kept=(); [ "$ADAPTER" = qlora ] || kept=(--load_in_4bit=false)
rm -rf "$sft" "$dpo" "$sft_merged" "$dpo_merged" runs/peaks; mkdir -p runs/peaks
# A training command whose messages are read as well as shown: its last line has the peak memory.
measured() { { step "$1" "${@:3}" 2>&1 >&3 | tee "runs/peaks/$2" >&2; } 3>&1; }
peak() { sed -n 's/^done: .*peak memory \(.*\) (tensors \(.*\))$/\'"$2/p" "runs/peaks/$1"; }
trained() { sed -n 's/^ *trainable parameters *//p' "runs/peaks/$1"; }

measured "4 of 7: it learns to answer, with all its weights" sft sft recipes/tiny/sft.yaml --fresh=true
measured "5 of 7: it learns to answer, with an adapter" sft-adapter sft recipes/tiny/sft_qlora.yaml --fresh=true "${kept[@]}" --output_dir="$sft"
measured "6 of 7: it learns to prefer the better answer, with all its weights" dpo dpo recipes/tiny/dpo.yaml --fresh=true
measured "7 of 7: it learns to prefer the better answer, with a second adapter over the first" dpo-adapter dpo recipes/tiny/dpo_qlora.yaml --fresh=true \
    "${kept[@]}" --model_name_or_path="$sft" --output_dir="$dpo"
step "the model and the first adapter in one" merge "$sft" --out "$sft_merged"
step "the model and both adapters in one" merge "$dpo" --out "$dpo_merged"

row() { printf '  %-48s %10s %16s %16s %12s %12s\n' "$@"; }
# The merged models answer for their adapters: as these were trained, and sooner.
result() { row "$1" "$(number "$2")" "$3" "$(trained "$4")" "$(peak "$4" 2)" "$(peak "$4" 1)"; }
sft_accuracy=$(ask runs/tiny-sft) sft_adapter_accuracy=$(ask "$sft_merged") dpo_accuracy=$(ask runs/tiny-dpo) dpo_adapter_accuracy=$(ask "$dpo_merged")
say "" "held-out questions: right ones of eight answers at temperature 1; held-out pairs ranked right; numbers trained; the most memory of tensors, and of the process"
row "after" accuracy "reward accuracy" "numbers trained" "tensors" "process"
row "reading (runs/tiny-cpt)" "$(number "$read_accuracy")" "" "" "" ""
result "fine-tuning (runs/tiny-sft)" "$sft_accuracy" "" sft
result "fine-tuning, $ADAPTER, merged ($sft)" "$sft_adapter_accuracy" "" sft-adapter
result "DPO (runs/tiny-dpo)" "$dpo_accuracy" "$(metric runs/tiny-dpo eval_rewards/accuracies)" dpo
result "DPO, $ADAPTER, merged ($dpo)" "$dpo_adapter_accuracy" "$(metric "$dpo" eval_rewards/accuracies)" dpo-adapter
echo "of a model this small, activations are nearly all of its memory; of a large one, weights, gradients and states are most of it"
echo
talk "$dpo_merged"
