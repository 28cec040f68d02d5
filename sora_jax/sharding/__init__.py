"""Meshes and rules: the only importer of jax.sharding."""
