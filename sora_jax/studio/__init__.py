"""The facade that every door uses."""
