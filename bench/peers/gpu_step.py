#!/usr/bin/env python3
"""The training steps to beat on a GPU: a Llama of 8 billion weights in plain PyTorch, eager and compiled.

    python3 bench/peers/gpu_step.py
    python3 bench/peers/gpu_step.py --rehearsal      # tiny, on the CPU: the way through the code alone

A step is forward, cross-entropy, backward, clipping and AdamW, of 8,192 tokens in rows of 2,048. `full`: weights, gradients and
states in bfloat16 (half the memory of ours, which keeps float32 masters); `lora`: adapters of rank 16 on every linear layer of a
frozen bfloat16 model. Layers are recomputed in the backward pass, as ours are. Prints one JSON object a line.
"""
import argparse
import json
import time

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def attend(q, k, v):
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    # before 2.0: only a rehearsal comes here
    scores = (q @ k.transpose(-1, -2)).float() / q.shape[-1] ** 0.5
    mask = torch.full(scores.shape[-2:], float("-inf"), device=q.device).triu(1)
    return (scores + mask).softmax(-1).to(v.dtype) @ v


class Adapted(nn.Module):
    def __init__(self, width, out, rank, **place):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out, width, **place).normal_(0, 0.02), requires_grad=rank == 0)
        self.rank = rank
        if rank:
            self.down = nn.Parameter(torch.empty(rank, width, **place).normal_(0, 0.02))
            self.up = nn.Parameter(torch.zeros(out, rank, **place))

    def forward(self, x):
        y = F.linear(x, self.weight)
        return y + F.linear(F.linear(x, self.down), self.up) if self.rank else y


def norm(x, weight):
    y = x.float()
    return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-5)).to(x.dtype) * weight


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Layer(nn.Module):
    def __init__(self, s, rank, **place):
        super().__init__()
        self.s, size = s, s["width"] // s["heads"]
        self.size = size
        self.first = nn.Parameter(torch.ones(s["width"], **place), requires_grad=rank == 0)
        self.second = nn.Parameter(torch.ones(s["width"], **place), requires_grad=rank == 0)
        self.q = Adapted(s["width"], s["heads"] * size, rank, **place)
        self.k = Adapted(s["width"], s["key_heads"] * size, rank, **place)
        self.v = Adapted(s["width"], s["key_heads"] * size, rank, **place)
        self.o = Adapted(s["heads"] * size, s["width"], rank, **place)
        self.gate = Adapted(s["width"], s["inner"], rank, **place)
        self.up = Adapted(s["width"], s["inner"], rank, **place)
        self.down = Adapted(s["inner"], s["width"], rank, **place)

    def forward(self, x, cos, sin):
        rows, length, _ = x.shape
        h = norm(x, self.first)
        q = self.q(h).view(rows, length, -1, self.size).transpose(1, 2)
        k = self.k(h).view(rows, length, -1, self.size).transpose(1, 2)
        v = self.v(h).view(rows, length, -1, self.size).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        groups = self.s["heads"] // self.s["key_heads"]
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        x = x + self.o(attend(q, k, v).transpose(1, 2).reshape(rows, length, -1))
        h = norm(x, self.second)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    def __init__(self, s, rank, **place):
        super().__init__()
        self.embed = nn.Parameter(torch.empty(s["vocabulary"], s["width"], **place).normal_(0, 0.02), requires_grad=rank == 0)
        self.layers = nn.ModuleList(Layer(s, rank, **place) for _ in range(s["layers"]))
        self.last = nn.Parameter(torch.ones(s["width"], **place), requires_grad=rank == 0)
        self.head = nn.Parameter(torch.empty(s["vocabulary"], s["width"], **place).normal_(0, 0.02), requires_grad=rank == 0)
        size = s["width"] // s["heads"]
        angles = torch.outer(torch.arange(s["length"]).float(), 10000.0 ** (-torch.arange(0, size, 2).float() / size))
        self.cos, self.sin = angles.cos().to(**place), angles.sin().to(**place)

    def forward(self, ids):
        x = F.embedding(ids, self.embed)
        if not self.embed.requires_grad:
            x.requires_grad_()
        for layer in self.layers:
            x = checkpoint(layer, x, self.cos, self.sin, use_reentrant=False)
        logits = F.linear(norm(x, self.last), self.head)[:, :-1]
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]).float(), ids[:, 1:].reshape(-1))


def measure(name, s, rank, compiled, device, seconds):
    torch.manual_seed(17)
    model = Llama(s, rank, device=device, dtype=torch.bfloat16)
    run = torch.compile(model) if compiled else model
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, **(dict(fused=True) if device == "cuda" else {}))
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def step():
        ids = torch.randint(3, s["vocabulary"], (s["rows"], s["length"]), device=device)
        run(ids).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    step()
    wait()
    begun, steps = time.perf_counter(), 0
    while steps < 8 and (steps < 2 or time.perf_counter() - begun < seconds):
        step()
        wait()
        steps += 1
    speed = steps * s["rows"] * s["length"] / (time.perf_counter() - begun)
    peak = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else 0
    return dict(name=name, tokens_per_second=speed, note=f"PyTorch {torch.__version__}, {steps} steps, {peak:.1f} GB at most")


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rehearsal", action="store_true")
    options = options.parse_args()
    if not options.rehearsal and not torch.cuda.is_available():
        raise SystemExit("this Python's torch sees no GPU")
    s = dict(vocabulary=128256, width=4096, layers=32, heads=32, key_heads=8, inner=14336, rows=4, length=2048)
    if options.rehearsal:
        s = dict(vocabulary=256, width=64, layers=2, heads=4, key_heads=2, inner=128, rows=2, length=24)
    device = "cpu" if options.rehearsal else "cuda"
    for kind, rank in (("lora", 16), ("full", 0)):
        for way in ("eager", "compiled"):
            name = f"pytorch-sft-{kind}-{way}"
            if options.rehearsal and way == "compiled":
                print(json.dumps(dict(name=name, tokens_per_second=None, note="not compiled in a rehearsal")), flush=True)
                continue
            try:
                found = measure(name, s, rank, way == "compiled", device, 8)
            except (RuntimeError, AssertionError) as failure:  # full memory, or a compiler that is missing
                found = dict(name=name, tokens_per_second=None, note=str(failure).strip().splitlines()[0][:200])
            print(json.dumps(found), flush=True)
            if device == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
