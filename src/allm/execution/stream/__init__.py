"""Streams of events: channel, pipeline, folds and attempts."""
