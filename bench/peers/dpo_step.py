#!/usr/bin/env python3
"""The DPO step to beat: padded, concatenated, with a live reference, in plain eager PyTorch, as the reference trainer does it.

    /usr/bin/python3 bench/peers/dpo_step.py --shape 15m --dtype f32 --pairs pairs.json

pairs.json is a list of [prompt, chosen, rejected] token counts. A batch of --rows pairs is one tensor of all chosen, then all rejected
sequences, each prompt and answer, padded to the longest. The policy's logits of every position exist at once, as do the reference's,
which is computed in the same step without gradients. Log-probabilities are summed over answer tokens. Prints one JSON object.
"""
import argparse
import copy
import json
import os
import resource
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import train_step as base  # noqa: E402  (sets the environment before torch loads)

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--shape", choices=base.SHAPES, default="15m")
    options.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    options.add_argument("--pairs", required=True, help="JSON list of [prompt, chosen, rejected] lengths")
    options.add_argument("--rows", type=int, default=8, help="pairs per step")
    options.add_argument("--max-length", type=int, default=1024)
    given = options.parse_args()

    shape = base.SHAPES[given.shape]
    with open(given.pairs, encoding="utf-8") as file:
        pairs = json.load(file)
    torch.manual_seed(17)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    model = base.Llama(**{k: shape[k] for k in ("vocabulary", "width", "layers", "heads", "key_heads", "inner")})
    reference = copy.deepcopy(model).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0.0)
    generator = torch.Generator().manual_seed(17)

    def log_probs(network, ids, real, answer):
        with torch.autocast("cpu", torch.bfloat16, enabled=given.dtype == "bf16"):
            logits = network(ids, real)
        tokens = logits[:, :-1].float().log_softmax(-1).gather(2, ids[:, 1:, None]).squeeze(2)
        return (tokens * answer[:, 1:]).sum(-1)

    def step(batch):
        sequences = [(p, p + c) for p, c, _ in batch] + [(p, p + r) for p, _, r in batch]
        sequences = [(min(p, given.max_length - 1), min(n, given.max_length)) for p, n in sequences]
        place = torch.arange(max(n for _, n in sequences))[None]
        ends = torch.tensor([n for _, n in sequences])[:, None]
        real = place < ends
        answer = real & (place >= torch.tensor([p for p, _ in sequences])[:, None])
        ids = torch.randint(shape["vocabulary"], real.shape, generator=generator)
        with torch.no_grad():
            known = log_probs(reference, ids, real, answer)
        own = log_probs(model, ids, real, answer)
        half = len(batch)
        ratios = own - known
        loss = -F.logsigmoid(0.1 * (ratios[:half] - ratios[half:])).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    batches = [pairs[i:i + given.rows] for i in range(0, len(pairs), given.rows)]
    step(batches[0])
    seconds = 0.0
    for batch in batches[1:]:
        start = time.perf_counter()
        loss = step(batch)
        seconds += time.perf_counter() - start
    done = sum(len(b) for b in batches[1:])
    print(json.dumps({
        "pairs_per_second": done / seconds,
        "pairs": done,
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "last_loss": loss,
        "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()
