"""Rows of the benchmark table: each is one function that measures, and returns what it measured as a `Ratio`."""
