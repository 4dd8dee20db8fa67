"""Voyage AI's embeddings."""
