"""Diffusion mathematics: pure functions of arrays, no networks."""
