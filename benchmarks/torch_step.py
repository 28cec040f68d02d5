"""The train step of the transformer in PyTorch: the peer of `benchmarks/step.py`.

The same network, written as one would in PyTorch: fused attention, autocast for bfloat16, fused
AdamW. It runs alone, in an environment that has PyTorch: one way to run the step in one process,
which says "ready" and then answers each line of seconds with those of the best step within them.

    echo 20 | python benchmarks/torch_step.py '{"width": 384, ..., "dtype": "float32"}'
"""

import json
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


def rms_norm(x):
    return F.rms_norm(x, x.shape[-1:], eps=1e-6)


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class Block(nn.Module):
    """Modulated self-attention, attention to text, modulated MLP."""

    def __init__(self, width, heads, hidden):
        super().__init__()
        self.heads = heads
        self.modulation = nn.Parameter(torch.zeros(6 * width))
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.text_q = nn.Linear(width, width)
        self.text_kv = nn.Linear(width, 2 * width)
        self.text_out = nn.Linear(width, width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def split(self, x, parts):
        """B L parts*D -> parts of B N L K."""
        rows, length, _ = x.shape
        return [p.view(rows, length, self.heads, -1).transpose(1, 2) for p in x.chunk(parts, -1)]

    def forward(self, x, shared, text, cos, sin, frames):
        table = shared + self.modulation
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (
            part.repeat_interleave(frames, 1) for part in table.chunk(6, -1)
        )
        q, k, v = self.split(self.qkv(rms_norm(x) * (1 + scale_a) + shift_a), 3)
        q, k = rotate(rms_norm(q), cos, sin), rotate(rms_norm(k), cos, sin)
        q = q * q.shape[-1] ** 0.25
        out = F.scaled_dot_product_attention(q, k.to(q.dtype), v.to(q.dtype))
        x = x + gate_a * self.out(out.transpose(1, 2).reshape(x.shape))
        (q,), (k, v) = self.split(self.text_q(rms_norm(x)), 1), self.split(self.text_kv(text), 2)
        q = rms_norm(q) * q.shape[-1] ** 0.25
        out = F.scaled_dot_product_attention(q, rms_norm(k).to(q.dtype), v.to(q.dtype))
        x = x + self.text_out(out.transpose(1, 2).reshape(x.shape))
        hidden = self.up(rms_norm(x) * (1 + scale_m) + shift_m)
        return x + gate_m * self.down(torch.relu(hidden).square())


class DiT(nn.Module):
    """Tokens, levels of latent frames and text states -> tokens."""

    def __init__(self, cfg):
        super().__init__()
        width = cfg["width"]
        self.input = nn.Linear(cfg["values"], width)
        self.level = nn.Linear(width, width)
        self.modulation = nn.Linear(width, 8 * width)
        self.blocks = nn.ModuleList(
            Block(width, cfg["num_heads"], cfg["mlp_width"]) for _ in range(cfg["depth"])
        )
        self.output = nn.Linear(width, cfg["values"])
        self.frames = cfg["tokens"] // cfg["frames"]  # tokens of a latent frame

    def forward(self, x, level, text, cos, sin):
        x = self.input(x)
        table = self.modulation(F.silu(self.level(level)))
        shared, shift, scale = table.split([table.shape[-1] * 6 // 8, x.shape[-1], x.shape[-1]], -1)
        for block in self.blocks:
            x = block(x, shared, text, cos, sin, self.frames)
        shift, scale = (part.repeat_interleave(self.frames, 1) for part in (shift, scale))
        return self.output(rms_norm(x) * (1 + scale) + shift)


def make_step(cfg):
    """A function that trains one step."""
    torch.manual_seed(0)
    model = DiT(cfg)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.98), fused=True)
    forward = torch.compile(model) if cfg["compile"] else model
    rows, length, half = cfg["rows"], cfg["tokens"], cfg["width"] // cfg["num_heads"] // 2
    x, target = torch.randn(2, rows, length, cfg["values"])
    level = torch.randn(rows, cfg["frames"], cfg["width"])
    text = torch.randn(rows, cfg["text"], cfg["width"])
    angle = torch.randn(1, 1, length, half)
    cos, sin = angle.cos(), angle.sin()

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=cfg["dtype"] == "bfloat16"):
            loss = F.mse_loss(forward(x, level, text, cos, sin).float(), target)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def best(step, seconds):
    """Seconds of the best step within the time given: of two at least, but one of a minute."""
    times: list[float] = []
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or (len(times) < 2 and sum(times) < 60):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    cfg = json.loads(sys.argv[1])
    torch.set_num_threads(cfg["threads"])
    step = make_step(cfg)
    step()
    print(f"ready {torch.__version__}", flush=True)
    for line in sys.stdin:
        print(best(step, float(line)), flush=True)


if __name__ == "__main__":
    main()
