"""What several reports share."""

from __future__ import annotations

STYLES = {
    "new_lineage": "green",
    "unchanged": "dim",
    "fast_forward_import": "cyan",
    "diverged_lineage": "yellow",
    "id_collision_unrelated": "red",
    "imported": "green",
    "skipped": "dim",
    "refused": "yellow",
    "failed": "red",
    "adopt": "cyan",
    "adopted": "green",
    "undo": "cyan",
    "undone": "cyan",
    "kept": "yellow",
    "install": "cyan",
    "installed": "green",
    "replace": "yellow",
    "replaced": "yellow",
    "refuse": "yellow",
    "completed": "green",
    "partial": "yellow",
    "running": "red",
    "recovered": "cyan",
}


def base(path: str) -> str:
    """The last part of a path, of this machine or another."""
    return path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or path
