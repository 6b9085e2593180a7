"""Tensors only: the networks applied to frames. Knows no file, codec or time."""
