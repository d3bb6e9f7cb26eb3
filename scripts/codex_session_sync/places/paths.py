"""Paths of any operating system, taken apart and put together as text; no file is looked at."""

from __future__ import annotations

import re
from dataclasses import dataclass

_DRIVE = re.compile(r"([A-Za-z]):(?:[\\/]|$)")
_EXTENDED = ("\\\\?\\", "//?/")
"""What Windows lets stand before a path to have it taken as it is; it names the same place."""

_DEVICES = (".", "?")
"""In the place of a server: no folder of any."""


@dataclass(frozen=True, slots=True)
class Path:
    """An absolute path: its anchor and the names below it.

    ``anchor``: ``/``, a drive such as ``C:``, or ``\\\\server\\share``. ``slash`` is what a Windows
    path is written with.
    """

    anchor: str
    names: tuple[str, ...]
    slash: str = "/"

    @property
    def windows(self) -> bool:
        """Whether it is one of Windows, where case does not count."""
        return self.anchor != "/"

    @property
    def key(self) -> tuple[str, ...]:
        """What paths to the same place have in common."""
        parts = (self.anchor, *self.names)
        # Not casefold: to Windows "Straße" and "Strasse" are two folders.
        return tuple(part.lower() for part in parts) if self.windows else parts

    def below(self, folder: Path) -> tuple[str, ...] | None:
        """The names from ``folder`` down to this path; None if it does not lie there."""
        if self.key[: len(folder.key)] != folder.key:
            return None
        return self.names[len(folder.names) :]

    def joined(self, names: tuple[str, ...]) -> Path | None:
        """The path with more names below it; None if Windows would take one of them for several."""
        if self.windows and any("\\" in name for name in names):
            return None
        return Path(self.anchor, self.names + names, self.slash)

    def __str__(self) -> str:
        if not self.windows:
            return "/" + "/".join(self.names)
        anchor = self.anchor.replace("\\", self.slash)
        return anchor + self.slash + self.slash.join(self.names)


def parse(text: str) -> Path | None:
    """The path that a text is; None if it is no absolute one, or goes through ``..``."""
    if "\0" in text:
        return None
    windows = _windows(text)
    if windows is not None:
        return windows
    if not text.startswith("/") or text.startswith("//"):
        return None
    return _checked("/", text.split("/"), "/")


def _windows(text: str) -> Path | None:
    bare = text
    for prefix in _EXTENDED:
        if text.startswith(prefix):
            bare = text[len(prefix) :]
            if bare[:4].upper() in ("UNC\\", "UNC/"):
                bare = "\\\\" + bare[4:]
    slash = "/" if "/" in bare and "\\" not in bare else "\\"
    drive = _DRIVE.match(bare)
    if drive:
        return _checked(drive[1].upper() + ":", re.split(r"[\\/]", bare[2:]), slash)
    if bare.startswith("\\\\"):
        server, share, *names = [*re.split(r"[\\/]", bare[2:]), "", ""]
        if server not in ("", *_DEVICES) and share:
            return _checked(f"\\\\{server}\\{share}", names, "\\")
    return None


def _checked(anchor: str, names: list[str], slash: str) -> Path | None:
    kept = tuple(name for name in names if name not in ("", "."))
    return None if ".." in kept else Path(anchor, kept, slash)
