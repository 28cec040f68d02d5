"""Bundles: what training hands to everything else."""
