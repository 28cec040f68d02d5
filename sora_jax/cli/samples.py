"""What a run shows of its transformer while it trains."""

from pathlib import Path

from sora_jax import files, media, sheets
from sora_jax.generate import request
from sora_jax.generate.engine import Engine
from sora_jax.generate.t2v import generate


def write_samples(directory: Path, engine: Engine, prompts: list[str]) -> dict[str, Path]:
    """One mp4 for each prompt (its number is its seed) and a contact sheet of all."""
    settings = engine.bundle.sampling
    wanted = [request.make_request(text, seed=i) for i, text in enumerate(prompts)]
    videos = generate(engine, wanted, settings)
    with files.disk_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    paths = {}
    for i, video in enumerate(videos):
        paths[f"sample_{i}"] = directory / f"{i}.mp4"
        upscale = max(1, 256 // video.shape[1])
        media.write_video(paths[f"sample_{i}"], video, settings.fps, upscale=upscale)
    media.write_png(directory / "contact_sheet.png", sheets.contact_sheet(list(videos), prompts))
    return paths
