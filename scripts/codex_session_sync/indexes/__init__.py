"""Rebuilding Codex's own lists, of names and of prompts, from its transcripts and its database."""
