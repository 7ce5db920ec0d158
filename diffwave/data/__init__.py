"""Recordings as a corpus: prepared, stored, read, and cut into crops for training."""
