"""Cohere's reranking and transcription; its chat is a preset of `OpenAI`."""
