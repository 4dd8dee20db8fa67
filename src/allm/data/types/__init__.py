"""Users' types: their JSON Schema, and values structured into them."""
