"""What another home has, as its ``have`` document tells: what a package for it can leave out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from .. import validation
from ..errors import UsageError
from ..lineage.differences import packaged_metadata
from ..lineage.fingerprint import FINGERPRINT_VERSION, links_of
from ..model import Base, HistoryMode, Json, Outline, PackagedSession
from .holdings import FORMAT, SCHEMA, metadata_digest

MAX_BYTES = 256 << 20
"""Longest document that is read."""

_HINT = "write it with `codex-session-sync have -o FILE` on the home that the package is for"


@dataclass(frozen=True, slots=True)
class Known:
    """The links that sessions of a home go through, each with the history modes it has there.

    ``metadata`` has digests (see ``holdings.metadata_digest``) by session and home of its source.
    """

    modes: Mapping[bytes, frozenset[HistoryMode]]
    metadata: Mapping[tuple[str, str], frozenset[str]]

    def base_of(self, outline: Outline) -> Base | None:
        """The longest beginning of a session that the other home surely has in the same mode."""
        chain = outline.chain
        last = 0
        for count, link in enumerate(links_of(chain.links), 1):
            if outline.mode in self.modes.get(link, ()):
                last = count
        return Base(last, chain.link(last), chain.link(1)) if last else None

    def has_metadata(self, session: PackagedSession, source_home: str | None) -> bool:
        """Whether name, archive state and branch are those that it has from ``source_home``."""
        if source_home is None:
            return False
        digests = self.metadata.get((session.session_id, source_home), frozenset())
        return metadata_digest(packaged_metadata(session)) in digests


def load_known(path: Path) -> Known:
    """Read what ``have`` wrote: the document itself or its ``--json`` output.

    Raises UsageError: ``have_unreadable``, ``have_invalid``, ``have_version_unsupported``.
    """
    document = _document(path)
    if document["fingerprint_version"] != FINGERPRINT_VERSION:
        raise UsageError(
            "have_version_unsupported",
            f"{path.name} tells of fingerprints of version {document['fingerprint_version']}; "
            f"this program makes version {FINGERPRINT_VERSION}",
            hint="use the same release of codex-session-sync on both sides",
        )
    modes: dict[bytes, frozenset[HistoryMode]] = {}
    metadata: dict[tuple[str, str], frozenset[str]] = {}
    for lineage in document["lineages"]:
        for session in lineage["sessions"]:
            mode: frozenset[HistoryMode] = frozenset([session["history_mode"]])
            for _, link in session["links"]:
                key = bytes.fromhex(link)
                modes[key] = modes.get(key, frozenset()) | mode
            for origin in session["origins"]:
                for home, digest in origin["metadata"].items():
                    of = (origin["session_id"], home)
                    metadata[of] = metadata.get(of, frozenset()) | {digest}
    return Known(modes, metadata)


def _document(path: Path) -> Json:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(
            "have_unreadable", f"{path} cannot be read: {error.strerror or error}", hint=_HINT
        ) from error
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _invalid(path, f"it is not JSON: {error}") from error
    if isinstance(found, dict) and found.get("command") == "have" and "data" in found:
        found = found["data"]
    if not isinstance(found, dict) or not str(found.get("format")).startswith(FORMAT[:-1]):
        raise _invalid(path, "it is no document of `have`")
    try:
        validation.check(SCHEMA, found, path.name, UsageError)
    except UsageError as error:
        raise _invalid(path, error.message) from error
    return found


def _invalid(path: Path, why: str) -> UsageError:
    return UsageError("have_invalid", f"{path} cannot be used: {why}", hint=_HINT)
