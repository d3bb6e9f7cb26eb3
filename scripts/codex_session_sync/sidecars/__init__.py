"""Sidecars for life: adopted, rebuilt, replayed, pruned."""
