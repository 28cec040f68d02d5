"""The autoencoder in PyTorch: the peer of `benchmarks/vae_film.py`.

The same network with the same weights, as one would write it in PyTorch: convolutions of
channels-last pictures, linear layers over the last dim. It runs alone, in an environment that has
PyTorch, and prints one JSON object: seconds of encoding and decoding a video in each way, and how
far the result is from ours.

    python benchmarks/vae_torch.py WEIGHTS_AND_VIDEO.npz SECONDS
"""

import json
import statistics
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

FRAMES = 4  # of a chunk


def rms_norm(x):
    return F.rms_norm(x, x.shape[-1:], eps=1e-6)


def dense(kernel, bias):
    layer = nn.Linear(kernel.shape[0], kernel.shape[1])
    layer.weight.data, layer.bias.data = torch.tensor(kernel.T.copy()), torch.tensor(bias)
    return layer


class Weights:
    """Arrays under dotted names."""

    def __init__(self, arrays, prefix=""):
        self.arrays, self.prefix = arrays, prefix

    def __getitem__(self, name):
        return Weights(self.arrays, f"{self.prefix}{name}.")

    def __contains__(self, name):
        return any(key.startswith(f"{self.prefix}{name}.") for key in self.arrays)

    def dense(self):
        return dense(self.arrays[self.prefix + "kernel"], self.arrays[self.prefix + "bias"])

    def conv(self):
        kernel = self.arrays[self.prefix + "kernel"]
        width_in, width_out = kernel.shape[0] // 9, kernel.shape[1]
        layer = nn.Conv2d(width_in, width_out, 3, padding=1)
        square = kernel.reshape(3, 3, width_in, width_out).transpose(3, 2, 0, 1).copy()
        layer.weight.data = torch.tensor(square).contiguous(memory_format=torch.channels_last)
        layer.bias.data = torch.tensor(self.arrays[self.prefix + "bias"])
        return layer


class Block(nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.conv = weights["conv"].conv()
        self.up, self.down = weights["up"].dense(), weights["down"].dense()

    def forward(self, x):
        near = self.conv(F.silu(rms_norm(x)).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + near
        return x + self.down(F.silu(self.up(rms_norm(x))))


class Pyramid(nn.Module):
    def __init__(self, weights, is_up):
        super().__init__()
        self.is_up = is_up
        self.input, self.output = weights["input"].dense(), weights["output"].dense()
        self.levels, self.resizes = nn.ModuleList(), nn.ModuleList()
        while str(len(self.levels)) in weights["levels"]:
            level = weights["levels"][str(len(self.levels))]
            blocks: list[nn.Module] = []
            while str(len(blocks)) in level:
                blocks.append(Block(level[str(len(blocks))]))
            if str(len(self.levels)) in weights["resizes"]:
                self.resizes.append(weights["resizes"][str(len(self.levels))].dense())
            self.levels.append(nn.Sequential(*blocks))

    def forward(self, x):
        x = self.input(x)
        for i, level in enumerate(self.levels):
            x = level(x)
            if i < len(self.resizes) and self.is_up:
                x = spread(self.resizes[i](x), 2)
            elif i < len(self.resizes):
                x = self.resizes[i](gather(x, 2))
        return self.output(rms_norm(x))


def gather(x, p):
    """N H W C: squares of p places into channels."""
    n, h, w, c = x.shape
    x = x.view(n, h // p, p, w // p, p, c).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h // p, w // p, p * p * c)


def spread(x, p):
    """Inverse of `gather`."""
    n, h, w, c = x.shape
    x = x.view(n, h, w, p, p, c // (p * p)).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h * p, w * p, c // (p * p))


def fold(video, p):
    """T H W 3 -> chunks of 4 frames and squares of p pixels in channels."""
    t, h, w, _ = video.shape
    x = video.view(t // FRAMES, FRAMES, h // p, p, w // p, p, 3).permute(0, 2, 4, 1, 3, 5, 6)
    return x.reshape(t // FRAMES, h // p, w // p, FRAMES * p * p * 3)


def unfold(x, p):
    """Inverse of `fold`."""
    n, h, w, _ = x.shape
    x = x.view(n, h, w, FRAMES, p, p, 3).permute(0, 3, 1, 4, 2, 5, 6)
    return x.reshape(n * FRAMES, h * p, w * p, 3)


class VAE(nn.Module):
    def __init__(self, weights, patch, size):
        super().__init__()
        self.patch, self.size = patch, size
        self.encode_linear = weights["encoder"]["linear"].dense()
        self.decode_linear = weights["decoder"]["linear"].dense()
        self.encoder = Pyramid(weights["encoder"]["network"], is_up=False)
        self.decoder = Pyramid(weights["decoder"]["network"], is_up=True)

    def forward(self, video):
        folded = fold(video, self.patch)
        latents = self.encode_linear(fold(video, self.size)) + self.encoder(folded)
        before = torch.cat([torch.zeros_like(latents[:1]), latents[:-1]])
        detail = self.decoder(torch.cat([latents, before], -1))
        return unfold(self.decode_linear(latents), self.size) + unfold(detail, self.patch)


def timed(function, video, seconds):
    """Median seconds of a call, after two that are not counted."""
    with torch.inference_mode():
        out = function(video)
        function(video)
        found: list[float] = []
        stop = time.perf_counter() + seconds
        while time.perf_counter() < stop or len(found) < 5:
            start = time.perf_counter()
            function(video)
            found.append(time.perf_counter() - start)
    return statistics.median(found), out


def main():
    stored = np.load(sys.argv[1], allow_pickle=False)
    seconds = float(sys.argv[2])
    arrays = {name: stored[name] for name in stored.files}
    patch, size = (int(value) for value in arrays.pop("_sizes"))
    video, ours = torch.tensor(arrays.pop("_video")), arrays.pop("_ours")
    vae = VAE(Weights(arrays), patch, size).eval()
    eager, out = timed(vae, video, seconds)
    compiled, _ = timed(torch.compile(vae), video, seconds)
    print(
        json.dumps(
            {
                "eager": eager,
                "compile": compiled,
                "max_difference": float(np.abs(out.numpy() - ours).max()),
            }
        )
    )


if __name__ == "__main__":
    main()
