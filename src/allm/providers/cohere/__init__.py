"""Cohere's chat, embeddings, reranking and transcription; what speaks OpenAI's format there is a preset of `OpenAI`."""
