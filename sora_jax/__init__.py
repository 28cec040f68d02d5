"""An open text-to-video model that you can train yourself, in JAX."""
