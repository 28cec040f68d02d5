"""Judges of generated video."""
