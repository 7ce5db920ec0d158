"""The listening page: audio, spectrograms, scores and blind tests, in a browser."""
