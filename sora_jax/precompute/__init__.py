"""Stages that need a network: records in, records with latents or text states out."""
