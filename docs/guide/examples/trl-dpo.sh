#!/bin/bash
# A training as TRL's own command line starts it.
MODEL=runs/tiny-sft
DATA=data/tiny/preferences

accelerate launch --num_processes 2 examples/scripts/dpo.py \
    --model_name_or_path $MODEL --dataset_name "$DATA" \
    --learning_rate 1.0e-4 --lr_scheduler_type cosine --warmup_ratio 0.1 \
    --beta 0.1 --loss_type sigmoid --max_length 256 \
    --per_device_train_batch_size 8 --max_steps 20 --logging_steps 5 \
    --gradient_checkpointing_kwargs '{"use_reentrant": false}' \
    --report_to none --output_dir runs/migrated-trl
