"""Runs are code: base.py holds every field with its default."""
