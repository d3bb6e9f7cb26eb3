"""The places of a Codex home, and which rollouts lie there."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import HomeError
from ..model import RolloutFile
from ..regular import read_regular
from .inventory import RolloutIndex, rollout_file
from .rollout import RolloutName, parse_name

SESSIONS = "sessions"
ARCHIVED = "archived_sessions"
INSTALLATION_ID = "installation_id"
STATE_NUMBER = 5
STATE_DB = f"state_{STATE_NUMBER}.sqlite"
HISTORY_DB = "thread_history_1.sqlite"
GOALS_DB = "goals_1.sqlite"
INDEX = "session_index.jsonl"
CONFIG = "config.toml"

BUILT_IN_PROVIDERS = frozenset({"openai", "ollama", "lmstudio", "amazon-bedrock"})
"""What Codex 0.169.0 resumes without configuration."""


@dataclass(frozen=True, slots=True)
class CodexHome:
    """A Codex home that exists; ``sqlite_home`` is where Codex keeps its databases for it."""

    path: Path
    sqlite_home: Path

    @property
    def state_db(self) -> Path:
        """The database of threads; it may not exist."""
        return self.sqlite_home / STATE_DB

    @property
    def later_state_db(self) -> Path | None:
        """A database of threads whose number is higher; the releases that have one use no other."""
        found = (
            path for path in self.sqlite_home.glob("state_*.sqlite") if _number(path) > STATE_NUMBER
        )
        return max(found, key=_number, default=None)

    @property
    def history_db(self) -> Path:
        """The database of shown turns (codex.thread_history); it may not exist."""
        return self.sqlite_home / HISTORY_DB

    @property
    def goals_db(self) -> Path:
        """The database of goals (codex.goals); it may not exist."""
        return self.sqlite_home / GOALS_DB

    @property
    def session_index(self) -> Path:
        """The list of names; it may not exist."""
        return self.path / INDEX

    @property
    def sync_dir(self) -> Path:
        """Where this program keeps sidecars, transactions and its cache."""
        return self.path / "session-sync"

    def rollout_path(self, name: RolloutName, file_name: str, *, archived: bool) -> str:
        """Where a rollout belongs, relative to the home, as a POSIX path."""
        if archived:
            return f"{ARCHIVED}/{file_name}"
        return "/".join((SESSIONS, *name.folder, file_name))

    def holds(self, path: Path) -> bool:
        """Whether a file lies where the home's rollouts do; a package may lie elsewhere in it."""
        place = os.path.normcase(path)
        return any(
            place.startswith(os.path.normcase(f"{self.path}{os.sep}{folder}{os.sep}"))
            for folder in (SESSIONS, ARCHIVED)
        )

    def rollouts(self, only: Collection[str] | None = None) -> RolloutIndex:
        """All rollouts that Codex would list here, found by their names alone.

        ``only``: those of these sessions, by id; the others are not looked at.
        """
        threads = None if only is None else frozenset(only)
        return RolloutIndex(self._scan(threads))

    def _scan(self, threads: frozenset[str] | None) -> Iterator[RolloutFile]:
        for folder in _date_folders(self.path / SESSIONS, 3):
            yield from _rollouts_in(folder, threads, archived=False)
        yield from _rollouts_in(self.path / ARCHIVED, threads, archived=True)


def locate_home(option: str | None, environ: Mapping[str, str]) -> Path:
    """The home to use: the option, else ``CODEX_HOME``, else ``~/.codex``; absolute."""
    chosen = option or environ.get("CODEX_HOME")
    return (Path(chosen) if chosen else Path.home() / ".codex").expanduser().absolute()


def open_home(path: Path, environ: Mapping[str, str]) -> CodexHome:
    """The home at ``path``.

    Raises HomeError: ``home_missing``, ``home_unreadable``, ``config_invalid``.
    """
    try:
        if not path.is_dir():
            raise HomeError(
                "home_missing",
                f"there is no Codex home at {path}",
                hint="name it, `codex-session-sync AGAIN --codex-home DIR`, or start Codex once so "
                "that it makes one",
            )
        os.scandir(path).close()
    except PermissionError as error:
        raise HomeError(
            "home_unreadable",
            f"{path} cannot be read: {error.strerror}",
            hint="mend its owner or permissions, then run `codex-session-sync AGAIN`",
        ) from error
    resolved = path.resolve()
    return CodexHome(resolved, _sqlite_home(resolved, environ))


def read_config(home: Path) -> Mapping[str, object]:
    """The parsed ``config.toml``; empty if there is none. Raises HomeError ``config_invalid``."""
    try:
        return tomllib.loads(read_regular(home / CONFIG, follow=True).decode())
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise HomeError(
            "config_invalid",
            f"{home / CONFIG} cannot be read: {error}",
            hint="Codex will not start with it either; mend it, then run `codex-session-sync "
            "AGAIN`",
        ) from error


def setting(config: Mapping[str, object], key: str) -> object:
    """A setting, as the chosen profile has it or else the configuration itself; None without."""
    profiles, name = config.get("profiles"), config.get("profile")
    profile = profiles.get(str(name)) if isinstance(profiles, dict) else None
    found = profile.get(key) if isinstance(profile, dict) else None
    return config.get(key) if found is None else found


def configured_providers(home: Path) -> frozenset[str]:
    """The providers that Codex knows in this home. Raises HomeError ``config_invalid``."""
    own = read_config(home).get("model_providers")
    return BUILT_IN_PROVIDERS.union(own if isinstance(own, dict) else ())


def _number(path: Path) -> int:
    """The number in a database's name; 0 for none."""
    number = path.stem.removeprefix("state_")
    return int(number) if number.isascii() and number.isdecimal() else 0


def _sqlite_home(home: Path, environ: Mapping[str, str]) -> Path:
    configured = read_config(home).get("sqlite_home") or environ.get("CODEX_SQLITE_HOME")
    if isinstance(configured, str) and configured:
        return (home / Path(configured).expanduser()).resolve()
    return home


def _date_folders(folder: Path, depth: int) -> Iterator[Path]:
    if depth == 0:
        yield folder
        return
    for entry in _entries(folder):
        if entry.name.isdigit() and entry.is_dir():
            yield from _date_folders(Path(entry.path), depth - 1)


def _rollouts_in(
    folder: Path, threads: frozenset[str] | None, *, archived: bool
) -> Iterator[RolloutFile]:
    for entry in _entries(folder):
        if not entry.name.startswith("rollout-"):
            continue
        name = parse_name(entry.name) if threads is not None else None
        if threads is not None and (name is None or name.thread_id not in threads):
            continue
        if not entry.is_file():
            continue
        stat = entry.stat()
        file = rollout_file(
            Path(entry.path), entry.name, stat.st_size, stat.st_mtime_ns, archived=archived
        )
        if file is not None:
            yield file


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
