#!/usr/bin/env python3
"""The training step to beat: a Llama in plain PyTorch, eager, on the CPU, as well tuned as this machine allows.

    /usr/bin/python3 bench/peers/train_step.py --shape 15m --dtype bf16
    /usr/bin/python3 bench/peers/train_step.py --shape 15m --dtype f32 --lengths lengths.json

One step is forward, cross-entropy on every real token, backward, clipping to norm 1 and AdamW. f32 is float32 throughout; bf16 is
autocast over float32 masters. Without --lengths every row has the same length and nothing is padded; with it (a JSON list of token
counts) rows are taken in the file's order, --rows at a time, and padded to the longest of their batch, as a trainer does.
Prints one JSON object.
"""
import argparse
import json
import os
import resource
import statistics
import sys
import time

# OpenBLAS, oneDNN, libtorch and OpenMP read these when torch loads them. HANDBOOK_CPU forces the path that it forces on our side.
FORCED = os.environ.get("HANDBOOK_CPU", "")
with open("/proc/cpuinfo", encoding="utf-8") as cpu:
    wide = "avx512dq" in cpu.read()
if FORCED == "avx2":
    os.environ.update(OPENBLAS_CORETYPE="Haswell", ATEN_CPU_CAPABILITY="avx2", ONEDNN_MAX_CPU_ISA="AVX2", MKL_ENABLE_INSTRUCTIONS="AVX2")
elif FORCED:
    os.environ.update(OPENBLAS_CORETYPE="SkylakeX", ATEN_CPU_CAPABILITY="avx512")
elif wide:
    os.environ.setdefault("OPENBLAS_CORETYPE", "SkylakeX")  # it takes newer processors for AVX2 ones, at half the speed
os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

SHAPES = {
    "15m": dict(vocabulary=32000, width=288, layers=6, heads=6, key_heads=6, inner=768, rows=8, length=256),
    "135m": dict(vocabulary=49152, width=576, layers=30, heads=9, key_heads=3, inner=1536, rows=2, length=256),
}


class Adapted(nn.Module):
    """A frozen linear layer with a low-rank adapter of its own, as the usual library wraps each of them."""

    def __init__(self, base, rank):
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x)) * 1.0


def adapt(model, rank):
    """Freezes the model and wraps every linear layer but the head."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear) and not isinstance(module, Adapted):
                setattr(module, name, Adapted(child, rank))


class RmsNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        y = x.float()
        return self.weight * (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-5)).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, width, heads, key_heads):
        super().__init__()
        self.heads, self.key_heads, self.size = heads, key_heads, width // heads
        self.q = nn.Linear(width, heads * self.size, bias=False)
        self.k = nn.Linear(width, key_heads * self.size, bias=False)
        self.v = nn.Linear(width, key_heads * self.size, bias=False)
        self.o = nn.Linear(heads * self.size, width, bias=False)

    def forward(self, x, cos, sin, mask):
        rows, length, _ = x.shape
        q = self.q(x).view(rows, length, self.heads, self.size).transpose(1, 2)
        k = self.k(x).view(rows, length, self.key_heads, self.size).transpose(1, 2)
        v = self.v(x).view(rows, length, self.key_heads, self.size).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if self.key_heads != self.heads:
            k = k.repeat_interleave(self.heads // self.key_heads, 1)
            v = v.repeat_interleave(self.heads // self.key_heads, 1)
        scores = torch.matmul(q, k.transpose(2, 3)) * self.size**-0.5 + mask
        y = torch.matmul(scores.softmax(-1, dtype=torch.float32).to(v.dtype), v)
        return self.o(y.transpose(1, 2).reshape(rows, length, -1))


def rotate(x, cos, sin):
    first, second = x.chunk(2, -1)
    return x * cos.to(x.dtype) + torch.cat((-second, first), -1) * sin.to(x.dtype)


class Layer(nn.Module):
    def __init__(self, width, heads, key_heads, inner):
        super().__init__()
        self.norm1, self.norm2 = RmsNorm(width), RmsNorm(width)
        self.attention = Attention(width, heads, key_heads)
        self.gate = nn.Linear(width, inner, bias=False)
        self.up = nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x, cos, sin, mask):
        x = x + self.attention(self.norm1(x), cos, sin, mask)
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Llama(nn.Module):
    def __init__(self, vocabulary, width, layers, heads, key_heads, inner):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.layers = nn.ModuleList(Layer(width, heads, key_heads, inner) for _ in range(layers))
        self.norm = RmsNorm(width)
        self.size = width // heads

    def forward(self, ids, real):
        length = ids.shape[1]
        angles = torch.arange(length)[:, None] * 10000.0 ** (-torch.arange(0, self.size, 2) / self.size)[None]
        angles = torch.cat((angles, angles), -1)
        hidden = torch.full((length, length), float("-inf")).triu(1)[None, None]
        if real is not None:
            hidden = hidden + torch.zeros(ids.shape).masked_fill(~real, torch.finfo(torch.float32).min)[:, None, None, :]
        x = self.embedding(ids)
        for layer in self.layers:
            x = layer(x, angles.cos(), angles.sin(), hidden)
        return F.linear(self.norm(x), self.embedding.weight)  # tied head


def batches(shape, lengths, rows, length):
    """(ids, mask of real tokens or None, real tokens), for ever."""
    generator = torch.Generator().manual_seed(17)
    at = 0
    while True:
        if lengths is None:
            yield torch.randint(shape["vocabulary"], (rows, length), generator=generator), None, rows * length
            continue
        chosen = [lengths[(at + i) % len(lengths)] for i in range(rows)]
        at += rows
        real = torch.arange(max(chosen))[None] < torch.tensor(chosen)[:, None]
        yield torch.randint(shape["vocabulary"], real.shape, generator=generator), real, sum(chosen)


def matmul_rate(dtype, n=2048, seconds=1.0):
    """GFLOP/s of square matrix products: the ceiling that shares are measured against."""
    a, b = torch.randn(n, n).to(dtype), torch.randn(n, n).to(dtype)
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until or best == float("inf"):
        start = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best / 1e9


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--shape", choices=SHAPES, default="15m")
    options.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    options.add_argument("--lengths", help="JSON list of row lengths: pad each batch to its longest row")
    options.add_argument("--rows", type=int, help="rows per step (default: the shape's)")
    options.add_argument("--length", type=int, help="tokens per row without --lengths (default: the shape's)")
    options.add_argument("--max-length", type=int, default=1024, help="longer rows of --lengths are cut")
    options.add_argument("--steps", type=int, default=8, help="measured steps, after three to warm up")
    options.add_argument("--lora", type=int, help="train adapters of this rank over the frozen model")
    options.add_argument("--name", help="name in the result")
    given = options.parse_args()

    shape = SHAPES[given.shape]
    lengths = None
    if given.lengths:
        with open(given.lengths, encoding="utf-8") as file:
            lengths = [min(n, given.max_length) for n in json.load(file) if n > 1]
        if not lengths:
            sys.exit(f"{given.lengths}: no row of two tokens or more")
    torch.manual_seed(17)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    model = Llama(**{k: shape[k] for k in ("vocabulary", "width", "layers", "heads", "key_heads", "inner")})
    if given.lora:
        adapt(model, given.lora)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.01)

    def step(ids, real):
        with torch.autocast("cpu", torch.bfloat16, enabled=given.dtype == "bf16"):
            logits = model(ids, real)
        labels = ids[:, 1:] if real is None else ids[:, 1:].masked_fill(~real[:, 1:], -100)
        loss = F.cross_entropy(logits[:, :-1].float().reshape(-1, shape["vocabulary"]), labels.reshape(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    source = batches(shape, lengths, given.rows or shape["rows"], given.length or shape["length"])
    for _ in range(3):
        ids, real, _ = next(source)
        step(ids, real)
    seconds, tokens, useful = [], [], []
    cpu = time.process_time()
    for _ in range(given.steps):
        ids, real, count = next(source)
        start = time.perf_counter()
        loss = step(ids, real)
        seconds.append(time.perf_counter() - start)
        tokens.append(ids.numel())
        useful.append(count)
    cpu = time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    rate = matmul_rate(torch.bfloat16 if given.dtype == "bf16" else torch.float32)
    print(json.dumps({
        "name": given.name or f"sft-{given.shape}-{given.dtype}",
        "tokens_per_second": sum(tokens) / sum(seconds),
        "useful_tokens_per_second": sum(useful) / sum(seconds),
        "useful_tokens_per_cpu_second": sum(useful) / cpu,
        "best_useful_tokens_per_second": max(u / s for u, s in zip(useful, seconds)),
        "median_step_seconds": statistics.median(seconds),
        "steps": given.steps,
        "peak_rss": peak,
        "matmul_gflops": rate,
        "parameters": sum(p.numel() for p in model.parameters()),
        "last_loss": loss,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "openblas_coretype": os.environ.get("OPENBLAS_CORETYPE", ""),
    }))


if __name__ == "__main__":
    main()
