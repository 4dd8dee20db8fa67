"""Deepgram's transcription."""
