"""Services beside chat: calls with one response each, and embeddings, which combine many of them."""
