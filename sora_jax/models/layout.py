"""How a network's work lies on devices: what `sharding` hands to `models`, which know no meshes."""

import dataclasses
from collections.abc import Callable
from typing import Any

from sora_jax.arrays import Array
from sora_jax.models import attention
from sora_jax.models.attention import Attend, Keys, Queries


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """Functions that leave values as they are and say where they lie; by default, one device."""

    attend: Attend = attention.attend_alone
    """Attention of a row to itself, and to text in the same softmax."""
    attend_text: Callable[[Queries, Keys], Array] = attention.attend_alone
    tokens: Callable[[Array], Array] = lambda x: x
    """Pins states of tokens (B L D) between blocks."""
    weights: Callable[[Any], Any] = lambda block: block
    """Brings the parameters of one block to where they are used."""


ONE_DEVICE = Layout()
