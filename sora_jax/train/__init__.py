"""State, objectives, optimizer, step and loop."""
