"""One short main per verb: wiring only."""
