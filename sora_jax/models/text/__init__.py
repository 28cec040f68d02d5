"""Text: tokenizer and encoder."""
