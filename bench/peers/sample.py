#!/usr/bin/env python3
"""The sampling loop to beat: a Llama with a key-value cache in plain eager PyTorch, one token of every row at a time.

    /usr/bin/python3 bench/peers/sample.py --shape 15m --dtype f32 --rows 16

All prompts have one length, so nothing is padded; a token is drawn from the whole softmax. Prints one JSON object.
"""
import argparse
import json
import os
import resource
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import train_step as base  # noqa: E402  (sets the environment before torch loads)

import torch  # noqa: E402
from torch.nn import functional as F  # noqa: E402


def attend(self, x, cos, sin, cache, mask):
    rows, length, _ = x.shape
    q = self.q(x).view(rows, length, self.heads, self.size).transpose(1, 2)
    k = self.k(x).view(rows, length, self.key_heads, self.size).transpose(1, 2)
    v = self.v(x).view(rows, length, self.key_heads, self.size).transpose(1, 2)
    q, k = base.rotate(q, cos, sin), base.rotate(k, cos, sin)
    if cache:
        k, v = torch.cat((cache[0], k), 2), torch.cat((cache[1], v), 2)
    cache[:] = [k, v]
    if self.key_heads != self.heads:
        k = k.repeat_interleave(self.heads // self.key_heads, 1)
        v = v.repeat_interleave(self.heads // self.key_heads, 1)
    scores = torch.matmul(q, k.transpose(2, 3)) * self.size**-0.5
    if mask is not None:
        scores = scores + mask
    y = torch.matmul(scores.softmax(-1, dtype=torch.float32).to(v.dtype), v)
    return self.o(y.transpose(1, 2).reshape(rows, length, -1))


def forward(model, ids, start, caches):
    length = ids.shape[1]
    angles = torch.arange(start, start + length)[:, None] * 10000.0 ** (-torch.arange(0, model.size, 2) / model.size)[None]
    angles = torch.cat((angles, angles), -1)
    mask = torch.full((length, length), float("-inf")).triu(1)[None, None] if length > 1 else None
    x = model.embedding(ids)
    for layer, cache in zip(model.layers, caches):
        x = x + attend(layer.attention, layer.norm1(x), angles.cos(), angles.sin(), cache, mask)
        y = layer.norm2(x)
        x = x + layer.down(F.silu(layer.gate(y)) * layer.up(y))
    return F.linear(model.norm(x[:, -1]), model.embedding.weight)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--shape", choices=base.SHAPES, default="15m")
    options.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    options.add_argument("--rows", type=int, default=16)
    options.add_argument("--prompt", type=int, default=64)
    options.add_argument("--new", type=int, default=128)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()

    shape = base.SHAPES[given.shape]
    torch.manual_seed(17)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    model = base.Llama(**{k: shape[k] for k in ("vocabulary", "width", "layers", "heads", "key_heads", "inner")}).eval()
    if given.dtype == "bf16":
        model = model.to(torch.bfloat16)

    def round_():
        ids = torch.randint(shape["vocabulary"], (given.rows, given.prompt))
        caches = [[] for _ in model.layers]
        start = 0
        for _ in range(given.new):
            logits = forward(model, ids, start, caches).float()
            start += ids.shape[1]
            ids = torch.multinomial(logits.softmax(-1), 1)

    with torch.no_grad():
        round_()
        begin, cpu = time.perf_counter(), time.process_time()
        for _ in range(given.rounds):
            round_()
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    print(json.dumps({
        "tokens_per_second": given.rounds * given.rows * given.new / seconds,
        "tokens_per_cpu_second": given.rounds * given.rows * given.new / cpu,
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()
