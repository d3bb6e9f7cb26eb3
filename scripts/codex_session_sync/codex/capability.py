"""What the Codex of a home can read, told from the home's database and from what is installed.

Measured release by release (``references/compatibility.md``): a paginated session is read from
0.147.0 on. Older releases show it without turns, refuse it, or spoil it by what they append.
"""

from __future__ import annotations

import re
import subprocess
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..model import Json
from .home import CodexHome
from .state_db import StateDb, open_for_reading

VERSION_TIMEOUT_S = 10.0

READS_PAGINATED_FROM = (0, 147, 0)
READS_PAGINATED_FROM_MIGRATION = 46

MIGRATIONS = {
    22: "0.118.0",
    29: "0.128.0",
    35: "0.136.0",
    37: "0.140.0",
    40: "0.144.0",
    42: "0.145.0",
    44: "0.146.0",
    46: "0.147.0",
    51: "0.150.0",
    55: "0.155.0",
    57: "0.157.0",
    58: "0.160.0",
    61: "0.163.0",
    62: "0.166.0",
}
"""The last migration of the database by the release that was measured to bring it."""

NEWEST = "0.169.0"
"""The newest release that was measured; its last migration is the last of MIGRATIONS."""

_VERSION = re.compile(r"\b(\d+)\.(\d+)\.(\d+)")
_NO_HOME = "/nonexistent-codex-home"


@dataclass(frozen=True, slots=True)
class Readable:
    """What is known of the Codex of a home; None where it is not.

    ``reads_paginated`` is the conclusion, ``migration`` the last one of the database, ``codex`` the
    version of the installed program.
    """

    reads_paginated: bool | None = None
    migration: int | None = None
    codex: str | None = None

    @property
    def legacy_only(self) -> bool:
        """Whether sessions have to be written in the legacy form."""
        return self.reads_paginated is False

    @property
    def database(self) -> str | None:
        """The release that the database is of, in words."""
        return None if self.migration is None else _release(self.migration)

    def as_json(self) -> Json:
        """As reports show it."""
        return {
            "reads_paginated": self.reads_paginated,
            "database": self.database,
            "migration": self.migration,
            "codex": self.codex,
        }


UNKNOWN = Readable()


def readable(home: CodexHome, codex: Path | None, environ: Mapping[str, str]) -> Readable:
    """What the home's database and the installed Codex tell; ``codex`` None: the database alone.

    One of them that does not read paginated sessions is enough to conclude that the home does not:
    every release reads the legacy form. Raises HomeError.
    """
    with open_for_reading(home.state_db) as database:
        migration = last_migration(database) if database is not None else None
        told = _database_reads(database, migration) if database is not None else None
    if told is None and home.history_db.exists():
        told = True
    version = installed_version(codex, environ) if codex is not None else None
    signs = {told, version >= READS_PAGINATED_FROM if version else None}
    reads = False if False in signs else True if True in signs else None
    return Readable(reads, migration, ".".join(map(str, version)) if version else None)


def last_migration(database: StateDb) -> int | None:
    """The number of the database's last migration; None if it keeps no record of them."""
    table = "_sqlx_migrations"
    if "version" not in database.columns(table):
        return None
    found = (row["version"] for row in database.rows(table, only=("version",)))
    return max((number for number in found if isinstance(number, int)), default=None)


def installed_version(codex: Path, environ: Mapping[str, str]) -> tuple[int, ...] | None:
    """The version that the program says it is; None if it says none.

    It is asked without a home, so that it writes nothing.
    """
    try:
        done = subprocess.run(
            [codex, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env={**environ, "CODEX_HOME": _NO_HOME},
            timeout=VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(done.stdout)
    return tuple(map(int, match.groups())) if match and done.returncode == 0 else None


def _database_reads(database: StateDb, migration: int | None) -> bool | None:
    """Whether the release that made the database reads paginated sessions."""
    columns = database.columns("threads")
    if columns and "history_mode" not in columns:
        # A row would have no place for the mode, and be taken for legacy by later releases too.
        return False
    return None if migration is None else migration >= READS_PAGINATED_FROM_MIGRATION


def _release(migration: int) -> str:
    """The releases that have a migration as their last."""
    numbers = list(MIGRATIONS)
    place = bisect_right(numbers, migration)
    if place == 0:
        return f"older than {MIGRATIONS[numbers[0]]}"
    if migration == numbers[-1]:
        return f"{MIGRATIONS[migration]} to {NEWEST}"
    if migration in MIGRATIONS:
        return MIGRATIONS[migration]
    if place == len(numbers):
        return f"newer than {NEWEST}"
    return f"between {MIGRATIONS[numbers[place - 1]]} and {MIGRATIONS[numbers[place]]}"
