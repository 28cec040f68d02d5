"""Clips for tests of finishing: a textured scene that can be shaken, and files with sound."""

from fractions import Fraction

import av
import numpy as np

from sora_jax.eval import finishing


def scene(num_frames=12, size=96):
    """A grey texture with a red disc that moves over it, T H W 3 uint8."""
    return finishing.scene(1, num_frames, size)


def psnr(a, b):
    return 10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9))


def write_video(path, frames, fps=24, tracks=(), codec="aac", seconds=None):
    """A video whose sound tracks are tones of `tracks` Hz."""
    seconds = len(frames) / fps if seconds is None else seconds
    with av.open(str(path), "w") as out:
        pictures = out.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        pictures.height, pictures.width = frames.shape[1:3]
        pictures.pix_fmt = "yuv420p"
        streams = [out.add_stream(codec, rate=48000, layout="mono") for _ in tracks]
        for frame in frames:
            out.mux(pictures.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(pictures.encode(None))
        for stream, tone in zip(streams, tracks, strict=True):
            for start in range(0, int(seconds * 48000), 1024):
                wave = np.sin(2 * np.pi * tone * (start + np.arange(1024)) / 48000)
                kind, dtype = ("fltp", np.float32) if codec == "aac" else ("s16", np.int16)
                scaled = wave if codec == "aac" else wave * 20000
                piece = av.AudioFrame.from_ndarray(
                    scaled.astype(dtype)[None], format=kind, layout="mono"
                )
                piece.sample_rate, piece.pts = 48000, start
                piece.time_base = Fraction(1, 48000)
                out.mux(stream.encode(piece))
            out.mux(stream.encode(None))


def loudest(path, track):
    """Frequency in Hz of a sound track's tone, and its length in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[track]
        pieces = [frame.to_ndarray().reshape(-1) for frame in container.decode(stream)]
        rate = stream.codec_context.sample_rate
    wave = np.concatenate(pieces).astype(float)
    power = np.abs(np.fft.rfft(wave))
    return np.argmax(power) * rate / len(wave), len(wave) / rate
