"""Offline stages that make datasets: manifest in, manifest out."""
