"""Configs that are planned for, not run here: sizes at which others have published figures."""
