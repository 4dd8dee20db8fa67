"""Users' types: make their JSON Schema, and structure JSON into them."""
