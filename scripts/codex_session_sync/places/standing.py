"""Directories of this machine: whether a path is one, and making those that are missing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .paths import parse


def is_native(text: str) -> bool:
    """Whether a text is an absolute path of this operating system."""
    path = parse(text)
    if path is not None and path.windows != (os.name == "nt"):
        return False
    return "\0" not in text and Path(text).is_absolute()


def is_here(text: str) -> bool:
    """Whether a path is a directory of this machine."""
    try:
        return is_native(text) and Path(text).is_dir()
    except (OSError, ValueError):
        return False


def make_missing(wanted: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Make the directories that are not there.

    Returns those that were made, and why others could not be.
    """
    made: list[str] = []
    failed: dict[str, str] = {}
    for text in dict.fromkeys(wanted):
        if is_here(text):
            continue
        if not is_native(text):
            failed[text] = "it is no path of this operating system"
            continue
        try:
            Path(text).mkdir(parents=True)
        except (OSError, ValueError) as error:
            failed[text] = getattr(error, "strerror", None) or str(error)
        else:
            made.append(text)
    return made, failed
