"""Undoing what a transaction did, as a transaction of its own."""
