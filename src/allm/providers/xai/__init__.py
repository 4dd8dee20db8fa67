"""xAI's speech and transcription, which have an API of their own; its chat is a preset of `OpenAI`."""
