"""What lies between two clips: frames that lead from the one to the other."""

from collections.abc import Sequence

from sora_jax.export.sampling import CHUNK_FRAMES, SamplingConfig
from sora_jax.generate import takes, windows
from sora_jax.generate.engine import Engine, Video
from sora_jax.generate.kept import hold_still, keep_frames
from sora_jax.generate.request import Request


def fill(
    engine: Engine,
    left: Video,
    right: Video,
    requests: Sequence[Request],
    settings: SamplingConfig,
    *,
    num_new: int,
    first_frame: int = 0,
) -> Video:
    """`num_new` frames from the end of `left` to the beginning of `right` (all B T H W 3).

    Counts are multiples of CHUNK_FRAMES; `first_frame` is the number of the first of `left`. What
    is given is seen as far as a window reaches. Of several takes that is kept which changes the
    least, all of its way from the last frame given to the first one.
    """
    far = max(left.shape[1] - settings.num_frames, 0)
    ends = left[:, far:], right[:, : settings.num_frames]
    before, after = (takes.over(engine.encode(end)) for end in ends)
    joined = windows.bridge(
        engine,
        before,
        after,
        takes.of_each(requests),
        settings,
        num_new=num_new // CHUNK_FRAMES,
        first_chunk=(first_frame + far) // CHUNK_FRAMES,
    )
    # Between the chunks around it, which are known.
    place = before.shape[1]
    around = engine.decode(joined[:, place - 1 : place + num_new // CHUNK_FRAMES + 1])
    last, first = takes.over(ends[0][:, -CHUNK_FRAMES:]), takes.over(ends[1][:, :CHUNK_FRAMES])
    whole = keep_frames(around, [(0, last), (CHUNK_FRAMES + num_new, first)])
    seen = whole[:, CHUNK_FRAMES - 1 : CHUNK_FRAMES + num_new + 1]
    seen[:, 1:-1] = hold_still(
        seen[:, 1:-1], around[:, [CHUNK_FRAMES - 1, -CHUNK_FRAMES]], seen[:, [0, -1]]
    )
    return takes.best(seen[:, 1:-1], takes.steps(seen).max(1))
