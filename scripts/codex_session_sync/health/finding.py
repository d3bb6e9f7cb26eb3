"""What a check can find, and what mends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import SyncError
from ..model import Json


@dataclass(frozen=True, slots=True)
class Remedy:
    """What mends a finding: what to do, and the command that does it, if one of ours does."""

    what: str
    command: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: a stable code, what it means here, and what it is about.

    ``path`` is relative to the home, where the place lies in it.
    """

    code: str
    message: str
    session_id: str | None = None
    lineage_id: str | None = None
    path: str | None = None

    @property
    def remedy(self) -> Remedy:
        """What mends it."""
        return REMEDIES.get(self.code, _LOOK)

    def to_json(self) -> Json:
        """The finding as a report shows it."""
        remedy = self.remedy
        return {
            "code": self.code,
            "message": self.message,
            "remedy": remedy.what,
            "command": remedy.command and f"codex-session-sync {remedy.command}",
            "session_id": self.session_id,
            "lineage_id": self.lineage_id,
            "path": self.path,
        }


def of_error(error: SyncError, session_id: str | None = None, path: str | None = None) -> Finding:
    """An error that a check met, as a finding."""
    return Finding(error.code, error.message, session_id or error.session_id, path=path)


_LOOK = Remedy("references/codes.md of this program says what to do")
_REBUILD = Remedy("rebuild the sidecars from journal and transcripts", "rebuild-sidecar --execute")
_REPLAY = Remedy(
    "put back the sidecars that the journal has", "replay-transactions-sidecar --execute"
)
_PRUNE = Remedy("drop what stands for nothing", "prune-invalid-mappings --execute")
_AGAIN = Remedy(
    "move the file away, then sync a package that has the session", "sync PKG --execute"
)
_DATABASE = Remedy("see what `codex doctor` says, or wait until Codex has ended its turn")
_JOURNAL = Remedy("put the journal back from a backup, or move that transaction's folder away")

REMEDIES: Mapping[str, Remedy] = {
    "sidecar_invalid": _REBUILD,
    "sidecar_outdated": _REBUILD,
    "sidecar_misplaced": Remedy("move the file away: nothing reads it"),
    "sidecar_missing": _REPLAY,
    "sidecar_unlike_journal": _REPLAY,
    "mapping_session_missing": _PRUNE,
    "mapping_line_lost": _REBUILD,
    "mapping_line_changed": _REBUILD,
    "session_shortened": Remedy(
        "sync a package that has the rest: it is appended", "sync PKG --execute"
    ),
    "session_untracked": Remedy("take it under lineage tracking", "adopt --execute"),
    "row_elsewhere": Remedy(
        "move the file or the home back there, or make that place a link to this one; a later "
        "package that extends the session sets its row right as well"
    ),
    "row_incomplete": _AGAIN,
    "row_without_transcript": Remedy(
        "put the file back, or sync a package that has the session", "sync PKG --execute"
    ),
    "name_without_session": Remedy(
        "write the index of names anew", "rebuild-index --only session-index --execute"
    ),
    "transaction_interrupted": Remedy("bring it to an end", "recover --execute"),
    "transaction_invalid": _JOURNAL,
    "operation_invalid": _JOURNAL,
    "leftover": Remedy("remove it: nothing uses it"),
    "path_escapes_home": Remedy("put a folder or file of the home in the place of the link"),
    "not_a_file": Remedy("move it away: Codex needs a file there, or none"),
    "transcript_invalid": _AGAIN,
    "transcript_unreadable": Remedy("check what the file is and who may read it"),
    "transcript_line_too_long": _AGAIN,
    "history_base_missing": Remedy(
        "sync a package that has the session it was forked from", "sync PKG --execute"
    ),
    "database_busy": _DATABASE,
    "database_not_writable": _DATABASE,
    "database_unreadable": _DATABASE,
    "no_temporary_folder": Remedy(
        "in a sandbox, ask for permission to run this outside of it; else make room"
    ),
}
"""The remedy of every code that a finding can have."""
