"""What is known on a canvas: rules for sampling, and the masks of the training tasks.

The tasks are pure functions of one clip's token coordinates with a traced task number, so that a
training step draws another task for each clip under `vmap` in one program.
"""

import dataclasses

import jax
import jax.numpy as jnp

from sora_jax.arrays import Array, Bool, Float, Int, Key
from sora_jax.canvas import TARGET, Canvas


def known_tokens(canvas: Canvas) -> Bool[Array, "B L"]:
    """True where every frame of the token is known."""
    return jnp.all(canvas.known > 0.5, axis=-1)


def impose(x: Float[Array, "B L P"], canvas: Canvas) -> Float[Array, "B L P"]:
    """Put the known tokens into `x`, exactly as given."""
    return jnp.where(known_tokens(canvas)[..., None], canvas.cond, x)


def frame_factor(canvas: Canvas) -> Float[Array, "B F"]:
    """0 for latent frames with nothing to generate, 1 for all others: multiplies their sigma."""
    is_wanted = ~known_tokens(canvas) & (canvas.role == TARGET)
    empty = jnp.zeros(canvas.frame_seconds.shape, bool)
    is_noisy = jax.vmap(lambda row, frame, wanted: row.at[frame].max(wanted))(
        empty, canvas.frame, is_wanted
    )
    return is_noisy.astype(jnp.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskShares:
    """Shares of the training tasks, in the order of their numbers. They need not sum to 1."""

    text: float = 0.30
    """Nothing known."""
    first: float = 0.15
    """The first chunk."""
    prefix: float = 0.10
    """1 to n - 1 first chunks."""
    suffix: float = 0.05
    """1 to n - 1 last chunks."""
    both_ends: float = 0.12
    """At least one chunk at each end."""
    key_frames: float = 0.06
    """1 to 4 chunks anywhere."""
    random_frames: float = 0.05
    """Any set of chunks."""
    box: float = 0.05
    """The outside or the inside of a spatial box, in all chunks or in a run of them."""

    def __post_init__(self):
        shares = dataclasses.astuple(self)
        if min(shares) < 0 or sum(shares) <= 0:
            raise ValueError(f"task shares {shares} must not be negative and must not all be 0")


TASKS = tuple(field.name for field in dataclasses.fields(TaskShares))
MIN_CHUNKS = (1, 2, 2, 2, 3, 2, 2, 1)  # of a clip that a task leaves something unknown in


def draw_task(key: Key, shares: TaskShares) -> Int[Array, ""]:
    """Number of a task in TASKS."""
    return jax.random.categorical(key, jnp.log(jnp.array(dataclasses.astuple(shares))))


def known_mask(
    key: Key, task: Int[Array, ""], index: Int[Array, "L 3"], size: Int[Array, " 3"]
) -> Bool[Array, " L"]:
    """Tokens that are given in `task`, from their (chunk, row, column) on a grid of `size`.

    Some token is always left unknown. A clip with too few chunks for its task is given nothing. The
    mask depends on the clip's own tokens alone, not on how many others are in the list.
    """
    # One call of the generator for the whole mask: each call is compiled into the training step.
    # Draw i of a key does not depend on how many are drawn, so other tokens do not matter.
    draws = jax.random.uniform(key, (16 + index.shape[0],))
    ends, keys, box, per_chunk = draws[0:3], draws[3:8], draws[8:16], draws[16:]
    num_chunks, chunk = size[0], index[:, 0]
    masks = (
        jnp.zeros(chunk.shape, bool),
        chunk == 0,
        *_known_ends(ends, chunk, num_chunks),
        _known_key_frames(keys, chunk, num_chunks),
        _known_random_frames(keys, per_chunk, chunk, num_chunks),
        _known_box(box, index, size),
    )
    is_long_enough = num_chunks >= jnp.array(MIN_CHUNKS)[task]
    return jnp.select([task == i for i in range(len(masks))], masks, False) & is_long_enough


def _known_ends(draws, chunk, num_chunks):
    """Masks of prefix, suffix and both ends. Lengths are uniform; the gap's ends are too."""
    length = _integer(draws[0], 1, num_chunks)
    start, stop = _interval(draws[1:], num_chunks - 2)
    in_gap = (chunk - 1 >= start) & (chunk - 1 < stop)
    return chunk < length, chunk >= num_chunks - length, ~in_gap


def _known_key_frames(draws, chunk, num_chunks):
    number = _integer(draws[4], 1, jnp.minimum(num_chunks, 5))
    is_chosen = chunk[:, None] == _integer(draws[:4], 0, num_chunks)
    return jnp.any(is_chosen & (jnp.arange(4) < number), axis=-1)


def _known_random_frames(draws, per_chunk, chunk, num_chunks):
    is_known = per_chunk[chunk] < draws[0]
    return is_known & (chunk != _integer(draws[1], 0, num_chunks))


def _known_box(draws, index, size):
    (top, bottom), (left, right) = _interval(draws[:2], size[1]), _interval(draws[2:4], size[2])
    first, stop = _interval(draws[4:6], size[0])
    is_always = draws[6] < 0.5
    first, stop = jnp.where(is_always, 0, first), jnp.where(is_always, size[0], stop)
    low, high = jnp.stack([first, top, left]), jnp.stack([stop, bottom, right])
    is_inside = jnp.all((index >= low) & (index < high), axis=-1)
    # A box that is the whole clip can't be what is given: nothing would be left to generate.
    is_whole = jnp.all((low == 0) & (high == size))
    gives_inside = (draws[7] < 0.5) & ~is_whole
    return jnp.where(gives_inside, is_inside, ~is_inside)


def _integer(draw, low, stop):
    """Turn a uniform draw into an integer of low .. stop - 1 (`low` itself if there is none)."""
    count = jnp.maximum(stop - low, 1)
    return low + jnp.minimum((draw * count).astype(jnp.int32), count - 1)


def _interval(draws, length):
    """Turn two draws into a non-empty [start, stop) within 0 .. length; both ends spread alike."""
    ends = _integer(draws, 0, length)
    return ends.min(), ends.max() + 1
