"""Extend a video at its end, its beginning or both: the chunks that exist are known."""

from collections.abc import Sequence

from sora_jax.errors import UsageError
from sora_jax.export.sampling import CHUNK_FRAMES, SamplingConfig
from sora_jax.generate.engine import Engine, Video
from sora_jax.generate.kept import keep_frames
from sora_jax.generate.request import Request
from sora_jax.generate.windows import grow

DIRECTIONS = ("forward", "backward", "both")


def extend(
    engine: Engine,
    videos: Video,
    requests: Sequence[Request],
    settings: SamplingConfig,
    *,
    num_new: int,
    direction: str = "forward",
    context: int | None = None,
) -> Video:
    """Add `num_new` frames to each video (B T H W 3, whole chunks) in `direction`.

    "both" adds as many at each end. The given frames come out as they went in (`kept`). `context`
    is in chunks, as in `grow`.
    """
    if direction not in DIRECTIONS:
        raise UsageError(f"direction {direction!r} is not one of {', '.join(DIRECTIONS)}")
    for name, count in (("video", videos.shape[1]), ("extension", num_new)):
        if count < CHUNK_FRAMES or count % CHUNK_FRAMES:
            raise UsageError(
                f"the {name} has {count} frames; it needs a multiple of {CHUNK_FRAMES}"
            )
    latents = engine.encode(videos)
    for is_forward, other in ((True, "backward"), (False, "forward")):
        if direction != other:
            latents = grow(
                engine,
                latents,
                requests,
                settings,
                num_new=num_new // CHUNK_FRAMES,
                is_forward=is_forward,
                context=context,
            )
    before = 0 if direction == "forward" else num_new
    return keep_frames(engine.decode(latents), [(before, videos)])
