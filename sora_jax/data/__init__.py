"""Training records, how they are stored, and how they become batches."""
