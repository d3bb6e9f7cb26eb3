"""Where a store is, and what lies where in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import StoreError, hint_on

FORMAT = "codex-session-sync/store/1"
VARIABLE = "CODEX_SESSION_SYNC_STORE"

HEAD = "store.json"


@dataclass(frozen=True, slots=True)
class Store:
    """A store that was opened; ``store_id`` is its own, drawn when it was made.

    Everything but ``derived`` is the truth, and is only added to: a document, once its line is in
    the catalog, never changes and never goes.
    """

    path: Path
    store_id: str

    @property
    def packages(self) -> Path:
        """Packages, each under its SHA-256."""
        return self.path / "packages"

    @property
    def listings(self) -> Path:
        """What homes held when a checkpoint was made, each under its SHA-256."""
        return self.path / "listings"

    @property
    def checkpoints(self) -> Path:
        """A folder for each repository, with a manifest for each of its commits."""
        return self.path / "checkpoints"

    @property
    def events(self) -> Path:
        """A file of lines for each lineage."""
        return self.path / "events"

    @property
    def imports(self) -> Path:
        """A manifest for each import."""
        return self.path / "imports"

    @property
    def catalog(self) -> Path:
        """A line for each document, in the order in which they came."""
        return self.path / "catalog.jsonl"

    @property
    def derived(self) -> Path:
        """What can be made again from all else, and may be deleted at any time."""
        return self.path / "derived"

    @property
    def logs(self) -> Path:
        """What commands wrote that ran in the background."""
        return self.path / "logs"


def locate_store(given: str | None, environ: Mapping[str, str]) -> Path:
    """The store's folder: as given, else as the environment says, else the user's own."""
    told = given or environ.get(VARIABLE)
    if told:
        return Path(told).absolute()
    from platformdirs import user_data_path

    return user_data_path("codex-session-sync", appauthor=False) / "store"


def unreadable(path: Path, error: OSError) -> StoreError:
    """``store_unreadable``: the system refuses to read something of a store."""
    return StoreError(
        "store_unreadable",
        f"{path} cannot be read: {error.strerror or error}",
        hint=hint_on(error, "mend its owner and permissions, then run `codex-session-sync AGAIN`"),
    )


def not_writable(path: Path, error: OSError) -> StoreError:
    """``store_not_writable``: the system refuses a write to a store."""
    return StoreError(
        "store_not_writable",
        f"{path} cannot be written to: {error.strerror or error}",
        hint=hint_on(
            error,
            "make room on its disk, or mend its owner and permissions, then run "
            "`codex-session-sync AGAIN`",
        ),
    )
