"""Which members of a package are read, and what makes a member unsafe.

Pure rules on names, kinds and sizes. The readers of directories, tar and zip put every member
before one ``Sieve``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping

from ..errors import PackageError
from ..trees import NOISE as _NOISE
from .members import Kind, Limits, PackageFile, over_limit, shown, unsafe

COMPONENT_BYTES = 255
"""Longest component of a wanted name: what the usual file systems take."""

OPTIONAL_FILE_BYTES = 64 << 20
"""Largest configuration, and largest file of a skill: instructions and scripts."""

SKILL_DEPTH = 16
"""Deepest file below ``skills/``, in components."""

MANIFEST = "package_manifest.json"

_NAMES = frozenset(
    {MANIFEST, "threads.jsonl", "thread_dynamic_tools.jsonl", "path_localization.json"}
    | {"required-directories.json", "session_index.jsonl", "history.jsonl", "config.toml"}
    | {"state_5.sqlite", "state_5.sqlite-wal", "installation_id"}
    | {"goals_1.sqlite", "goals_1.sqlite-wal"}
)
_SESSION_FOLDERS = frozenset({"sessions", "archived_sessions"})
_OPTIONAL = frozenset({"config.toml", "installation_id", "metadata", "skeleton", "skills"})
_HOME_NOISE = frozenset(
    {".tmp", "cache", "log", "plugins", "session-sync", "shell_snapshots", "tmp"}
    | {"transfer-journal", "vendor_imports", "worktrees"}
)
_HOME = re.compile(r"((?:[^/]+/)*?)(?:archived_)?sessions/")
_DATE_FOLDER = re.compile(r"\d{4}|\d\d")
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_HINT_LINK = (
    "pack again with links replaced by what they point to (tar -h --hard-dereference, cp -RL)"
)


def is_wanted(name: str) -> bool:
    """Whether a file of this name (POSIX path in the package) can be of use to any reader.

    A superset by design: rollouts and the known documents wherever they lie, everything below a
    ``skills`` folder, nothing from version control, dependencies or Finder leftovers.
    """
    base = name.rpartition("/")[2]
    known = base in _NAMES or _essential(base)
    if not known and "skills/" not in name:
        return False
    parts = name.split("/")
    if not _NOISE.isdisjoint(parts) or base.startswith("._") or base == ".DS_Store":
        return False
    return known or "skills" in parts[:-1]


def worth_entering(folders: Collection[str]) -> list[str]:
    """Which of the folders that lie side by side, by base name, may hold something of use.

    Beside ``sessions`` or ``archived_sessions`` the working folders of a Codex home (caches,
    checkouts, other journals) do not.
    """
    noise = _NOISE if _SESSION_FOLDERS.isdisjoint(folders) else _NOISE | _HOME_NOISE
    return [base for base in folders if base not in noise]


def _essential(base: str) -> bool:
    rollout = base.startswith("rollout-") and base.endswith((".jsonl", ".jsonl.zst"))
    return rollout or (base in _NAMES and base not in _OPTIONAL)


def _is_optional(parts: list[str]) -> bool:
    """Whether a Codex home may well have a link here, and sessions can be read without it."""
    return not _essential(parts[-1]) and (parts[-1] in _OPTIONAL or "skills" in parts[:-1])


def _hides_content(parts: list[str]) -> bool:
    """Whether a link of this name stands where a folder with wanted files would be."""
    if not _NOISE.isdisjoint(parts):
        return False
    if parts[-1] in _SESSION_FOLDERS or parts[-1] in _OPTIONAL:
        return True
    return not _SESSION_FOLDERS.isdisjoint(parts) and bool(_DATE_FOLDER.fullmatch(parts[-1]))


def _split(stored: str) -> tuple[list[str], str | None]:
    """Components of a stored name, and what is wrong with it, if anything."""
    path = stored.replace("\\", "/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if _CONTROL.search(stored):
        return parts, "has a control character in its name"
    if path.startswith("/"):
        return parts, "has an absolute name"
    if _DRIVE.match(path):
        return parts, "names a drive"
    # Windows drops trailing dots and blanks, so ".. " is another spelling of "..".
    if any(not part.strip(". ") for part in parts):
        return parts, "leads out of the package"
    return parts, None


def _folded(name: str) -> str:
    """What case- and normalisation-insensitive file systems take for the same name."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


class Sieve:
    """Lets wanted files through, counts the others, refuses the unsafe.

    ``strict_names``: judge the names of unwanted members too. Archives need it, since other tools
    would unpack those names; a name in a directory is already confined to it.

    A link, a double or an over-large file that is only *optional* (configuration, skills) is left
    out of a Codex home's snapshot, where such links are common; in a package that says it is one,
    it is refused as any other. Which of the two it is, is known only at the end: see ``settle``.
    """

    def __init__(
        self, limits: Limits, wanted: Callable[[str], bool], *, strict_names: bool
    ) -> None:
        self.ignored = 0
        self.limits = limits
        self._wanted = wanted
        self._strict_names = strict_names
        self._members = 0
        self._remembered = 0
        self._bytes = 0
        self._claims: dict[str, tuple[str, bool]] = {}
        self._folders: set[str] = set()
        self._doubtful: dict[str, tuple[PackageError, bool]] = {}

    def admit(self, stored: str, kind: Kind, size: int) -> str | None:
        """The name under which a member is to be read; None if it is not to be read.

        Raises PackageError (``package_unsafe``) if it is unsafe, or one too many, or too large.
        """
        self._members += 1
        if self._members > self.limits.members:
            count = f"is one too many: the limit is {self.limits.members} members"
            raise over_limit(stored, count, "members")
        parts, fault = _split(stored)
        name = "/".join(parts)
        if fault and self._strict_names:
            raise unsafe(stored, fault)
        self._check_length(name, len(parts))
        if kind is Kind.FOLDER:
            return None
        if not parts:
            raise unsafe(stored, "is no folder, yet has no name of its own")
        if self._wanted(name):
            if self._accept(name, parts, kind, size, fault or _component_fault(parts)):
                return name
        else:
            self._watch(name, parts, kind)
        self.ignored += 1
        return None

    def settle(self, files: Mapping[str, PackageFile]) -> tuple[dict[str, PackageFile], list[str]]:
        """Judge what only the whole can tell, when every member has been seen.

        Returns the files, sorted, without those in working folders of a Codex home; and the names
        of the optional members that were left out. Raises PackageError (``package_unsafe``).
        """
        homes = {match[1] for match in map(_HOME.match, files) if match}
        kept = {name: files[name] for name in sorted(files) if not _is_home_noise(name, homes)}
        self.ignored += len(files) - len(kept)
        left_out = sorted(name for name in self._doubtful if not _is_home_noise(name, homes))
        for name in left_out:
            error, optional = self._doubtful[name]
            if not optional or any(f"{root}{MANIFEST}" in kept for root in _roots_above(name)):
                raise error
        return kept, left_out

    def _check_length(self, name: str, depth: int) -> None:
        limits = self.limits
        if len(name.encode("utf-8", "surrogatepass")) > limits.name_bytes:
            raise over_limit(name, f"has a name over {limits.name_bytes} bytes", "name_bytes")
        if depth > limits.depth:
            raise over_limit(name, f"lies more than {limits.depth} folders deep", "depth")

    def _accept(
        self, name: str, parts: list[str], kind: Kind, size: int, fault: str | None
    ) -> bool:
        """Whether a wanted member is to be read; raises or notes what is wrong with it."""
        optional = _is_optional(parts)
        error = unsafe(name, fault) if fault else self._fault(name, parts, kind, size, optional)
        if error is None:
            self._remember(name, size)
            return True
        if not optional:
            raise error
        self._doubt(name, error, optional=True)
        return False

    def _doubt(self, name: str, error: PackageError, *, optional: bool) -> None:
        self._remember(name, 0)
        self._doubtful[name] = (error, optional)

    def _fault(
        self, name: str, parts: list[str], kind: Kind, size: int, optional: bool
    ) -> PackageError | None:
        if kind is not Kind.FILE:
            return unsafe(name, f"is {kind}, not a regular file", _HINT_LINK)
        if optional and size > OPTIONAL_FILE_BYTES:
            what = f"is {size} bytes large, over the {OPTIONAL_FILE_BYTES} that such a file may be"
            return unsafe(name, what)
        if optional and "skills" in parts and len(parts) - parts.index("skills") > SKILL_DEPTH + 1:
            return unsafe(name, f"lies more than {SKILL_DEPTH} folders deep below skills")
        if size > self.limits.file_bytes:
            what = f"is {size} bytes large, over the limit of {self.limits.file_bytes}"
            return over_limit(name, what, "file_bytes")
        return self._claim(name)

    def _claim(self, name: str) -> PackageError | None:
        """Take a wanted name, its doubles and the folders above it; or say who has it."""
        key = _folded(name)
        if key in self._claims:
            other = self._claims[key][0]
            return unsafe(name, f"is there twice (also as {shown(other)})")
        if key in self._folders:
            return unsafe(name, "is a file and a folder at once")
        above = key
        while above := above.rpartition("/")[0]:
            if above in self._folders:
                break
            if self._claims.get(above, ("", False))[1]:
                return unsafe(name, "lies below a member that is a file")
            self._folders.add(above)
        self._claims[key] = (name, True)
        return None

    def _remember(self, name: str, size: int) -> None:
        """Count what is kept in memory, so that no flood of odd members fills it either."""
        self._remembered += 1
        self._bytes += size
        limits = self.limits
        if self._remembered > limits.files:
            raise over_limit(name, f"is one too many: the limit is {limits.files} files", "files")
        if self._bytes > limits.total_bytes:
            what = f"takes the package over the limit of {limits.total_bytes} bytes"
            raise over_limit(name, what, "total_bytes")

    def _watch(self, name: str, parts: list[str], kind: Kind) -> None:
        """An unwanted member can still be a wanted one's double, or hide a folder of them."""
        if kind is Kind.SYMLINK and _hides_content(parts):
            what = "is a symbolic link, and what it hides is not followed"
            self._doubt(name, unsafe(name, what, _HINT_LINK), optional=_is_optional(parts))
            return
        key = _folded(name)
        if key == name or not self._wanted(key):
            return
        self._remember(name, 0)
        other, wanted = self._claims.setdefault(key, (name, False))
        if wanted:
            raise unsafe(name, f"is there twice (also as {shown(other)})")


def _component_fault(parts: Iterable[str]) -> str | None:
    for part in parts:
        if _DRIVE.match(part):
            return "names a drive"
        try:
            if len(part.encode()) > COMPONENT_BYTES:
                return f"has a component over {COMPONENT_BYTES} bytes"
        except UnicodeEncodeError:
            return "has a name that is not UTF-8"
    return None


def _is_home_noise(name: str, homes: set[str]) -> bool:
    parts = name.split("/")
    return any(
        part in _HOME_NOISE and _prefix(parts, at) in homes for at, part in enumerate(parts[:-1])
    )


def _roots_above(name: str) -> list[str]:
    """The folders that would be the package's root, by the place of an optional member."""
    parts = name.split("/")
    places = [at for at, part in enumerate(parts) if part == "skills"]
    if parts[-1] in _OPTIONAL:
        places.append(len(parts) - 1)
    return [_prefix(parts, at) for at in places]


def _prefix(parts: list[str], count: int) -> str:
    return "".join(f"{part}/" for part in parts[:count])
