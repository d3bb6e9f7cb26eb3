"""What several reports share."""

from __future__ import annotations

import re
from typing import Any

from .envelope import Each

LEFT_OUT = "{} left out: there is nothing to do for them"
"""What tells how many sessions ``--only-changes`` does not show."""

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
    "same": "green",
    "busy": "yellow",
    "not_listed": "red",
    "not_opened": "red",
    "differs": "red",
    "unreadable": "red",
}


_ACTING = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Controls, marks that turn the order of what is read, breaks of lines, halves of characters."""


def harmless(value: Any) -> Any:
    """The value with texts that a terminal only shows: what would act on it is written out."""
    match value:
        case str():
            return _ACTING.sub(lambda found: repr(found[0])[1:-1], value)
        case dict():
            return {key: harmless(item) for key, item in value.items()}
        case list() | tuple():
            return [harmless(item) for item in value]
        case Each():
            return value.through(harmless)
    return value


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with what it counts."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def base(path: str) -> str:
    """The last part of a path, of this machine or another."""
    return path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or path
