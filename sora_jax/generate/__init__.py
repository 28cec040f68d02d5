"""One engine, and one small file per tool."""
