"""What the plans share: rows of the public Wan geometry, so that times can be compared."""

from ml_collections import ConfigDict

from experiments import base
from sora_jax.models.presets import preset

SIZE_480P, SIZE_720P = (480, 832), (720, 1280)  # height, width
FRAMES = 84  # 21 chunks, as of Wan's 81 frames


def plan_config(size: str, pixels: tuple[int, int], topology: str) -> ConfigDict:
    """A preset on clips of `pixels`: 16 latent channels for 8 x 8 pixels, 512 words of text."""
    cfg = base.get_config()
    cfg.data.update(size=pixels, num_frames=FRAMES, fps=16.0)
    cfg.sampling.update(size=pixels, num_frames=FRAMES, fps=16.0)
    cfg.vae.model.update(channels=16, patch=4, widths=(128, 256))
    cfg.dit.model.update(preset(size), dtype="bfloat16", remat="attention", unroll=1)
    cfg.dit.text.update(width=1024, depth=2, num_heads=16, max_tokens=512, dtype="bfloat16")
    cfg.dit.attention.backend = "splash"
    cfg.dit.optimizer.name = "adamw"
    cfg.plan.topology = topology
    return cfg
