"""The toy world, drawn and described."""
