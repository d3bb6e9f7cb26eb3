"""Checkpoints: what a home held at a commit, kept in a store, and brought back from there."""
