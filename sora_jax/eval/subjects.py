"""What the tools are tried on, and what each of them hands in."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from sora_jax.data.scene import Scene, get_level
from sora_jax.eval.sets import ToyClip, stack
from sora_jax.export.sampling import CHUNK_FRAMES, SamplingConfig
from sora_jax.generate.engine import Engine, Video
from sora_jax.generate.request import Request, make_request

type Line = dict[str, Any]  # `ok`, and figures beside their limits
type Shown = list[tuple[str, Any]]  # captions and clips T H W 3 to look at


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subjects:
    """What the tools are tried on: `clips` of one object, and the same with another colour."""

    engine: Engine
    settings: SamplingConfig
    clips: Sequence[ToyClip]
    recoloured: Sequence[tuple[Scene, str]]
    """Scenes that differ from the clips' in the colour, each with its caption."""
    still: Sequence[tuple[Scene, str]]
    """Scenes in which nothing moves, with their captions: what can last or be a loop here."""

    boards: Sequence[tuple[tuple[Scene, str], tuple[Scene, str]]] = ()
    """Still scenes, said shortly, each beside the same in another colour."""

    @property
    def videos(self) -> Video:
        return stack(self.clips)

    @property
    def scenes(self) -> list[Scene]:
        return [clip.scene for clip in self.clips]

    @property
    def requests(self) -> list[Request]:
        return [clip.request(seed) for seed, clip in enumerate(self.clips)]

    @property
    def still_requests(self) -> list[Request]:
        return [make_request(text, seed=seed) for seed, (_, text) in enumerate(self.still)]

    @property
    def half(self) -> int:
        """Frames of half a clip, whole chunks."""
        return get_level(self.clips[0].scene.level).num_frames // CHUNK_FRAMES // 2 * CHUNK_FRAMES

    def shown(self, videos: Video, prompts: Sequence[str] | None = None) -> Shown:
        """Results beside the captions of the clips, or beside `prompts`."""
        return list(zip(prompts or [clip.prompt for clip in self.clips], videos, strict=False))
