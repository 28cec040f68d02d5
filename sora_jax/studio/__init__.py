"""The facade that every door uses. `Studio` is the door for Python."""

from sora_jax.studio.door import Studio as Studio
