"""Bring offline packages of Codex sessions into a local Codex home without losing any work."""

__version__ = "0.1.0"
