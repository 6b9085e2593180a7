"""Hostile files: valid ones, changed at random by a seed, given to a process of its own that is watched."""
