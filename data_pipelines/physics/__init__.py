"""Captioned scenes of rigid bodies, simulated and drawn by MuJoCo."""
