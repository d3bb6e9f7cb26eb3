"""The skills that a package holds: which folders are some, and what makes one unfit to install."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..trees import is_noise
from .container import PackageTree
from .members import PackageFile

FOLDER = "skills"
ENTRY = "SKILL.md"
"""The file that makes a folder a skill."""

MOST_FILES = 2_000
MOST_BYTES = 64 << 20
NAME_BYTES = 200

_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?")
_FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f-\x9f]')
_INVISIBLE = {"Cf", "Cc", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories of characters by which a name can look like another."""


@dataclass(frozen=True, slots=True)
class PackagedSkill:
    """A folder right below ``skills/``: its files by POSIX path in it.

    ``fault`` says why it cannot be installed, None if it can.
    """

    name: str
    files: Mapping[str, PackageFile]
    fault: str | None


def skills_in(tree: PackageTree, root: str) -> tuple[PackagedSkill, ...]:
    """The skills below ``root`` (empty, or ending in a slash), by name.

    What begins with a dot is Codex's own (``.system``) or hidden, and no skill that is carried.
    """
    start = f"{root}{FOLDER}/"
    found: dict[str, dict[str, PackageFile]] = defaultdict(dict)
    for name, file in tree.files.items():
        top, _, rest = name.removeprefix(start).partition("/")
        if name.startswith(start) and rest and not is_noise(rest.split("/")):
            found[top][rest] = file
    lacking = {
        name.removeprefix(start).partition("/")[0]
        for name in tree.left_out
        if name.startswith(start)
    }
    names = sorted(name for name in {*found, *lacking} if not name.startswith("."))
    doubles = Counter(_folded(name) for name in names)
    return tuple(
        PackagedSkill(
            name,
            dict(sorted(found.get(name, {}).items())),
            _fault(name, found.get(name, {}), lacking, doubles),
        )
        for name in names
    )


def _fault(
    name: str, files: Mapping[str, PackageFile], lacking: Iterable[str], doubles: Mapping[str, int]
) -> str | None:
    if name in lacking:
        return "it holds a link, two files of one name, or one that is too large or too deep"
    if not any(path.rsplit("/", 1)[-1] == ENTRY for path in files):
        return f"it has no {ENTRY}, so it is no skill"
    if doubles[_folded(name)] > 1:
        return "another skill of the package has the same name but for its letter case"
    if len(files) > MOST_FILES:
        return f"it has {len(files)} files, over the {MOST_FILES} that a skill may have"
    size = sum(file.size for file in files.values())
    if size > MOST_BYTES:
        return f"it is {size} bytes large, over the {MOST_BYTES} that a skill may be"
    for component in sorted({part for path in files for part in (name, *path.split("/"))}):
        if not is_portable(component):
            return f"it has a name that not every system takes: {component!r}"
    folders = Counter(_folded(f) for f in _folders(files))
    taken = {_folded(path) for path in files}
    if any(count > 1 for count in folders.values()) or not taken.isdisjoint(folders):
        return "two of its names differ by letter case alone"
    return None


def is_portable(component: str) -> bool:
    """Whether a component of a path means the same on every system, and shows what it is."""
    if not component or component in (".", "..") or component != component.strip(" "):
        return False
    if component.endswith(".") or len(component.encode()) > NAME_BYTES:
        return False
    if _FORBIDDEN.search(component) or _RESERVED.fullmatch(component):
        return False
    return not any(unicodedata.category(character) in _INVISIBLE for character in component)


def _folders(files: Iterable[str]) -> set[str]:
    """Every folder that files lie in."""
    return {
        "/".join(parts[:depth])
        for path in files
        for parts in [path.split("/")]
        for depth in range(1, len(parts))
    }


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
