"""JSON: parsing, our values to text and back, and reading providers' JSON tolerantly."""
