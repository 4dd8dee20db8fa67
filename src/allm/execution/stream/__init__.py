"""The stream: channel, pipeline, folds, retries."""
