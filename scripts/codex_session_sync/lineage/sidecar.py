"""Sidecars: which incoming session stands for which local one, one document per lineage.

Derived state: the journal holds every version, and transcripts tell the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from .. import validation
from ..errors import HomeError
from ..model import Chain, Json
from .fingerprint import FINGERPRINT_VERSION

SCHEMA = "codex-session-sync/sidecar/1"

Pair = tuple[str, str]
"""The ids of an incoming session and of the local one that stands for it."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """One incoming session and the local one that stands for it, as of the last sync.

    ``incoming`` and ``local`` are fingerprints (see ``fingerprint``), ``metadata`` the name,
    archive state and branch (see lineage.differences) of each home that it came from.
    """

    origin_session_id: str
    local_session_id: str
    incoming: Json
    local: Json
    metadata: Json
    transaction_id: str
    synced_at: str

    def to_json(self) -> Json:
        """The mapping as the sidecar holds it."""
        return {
            "origin_session_id": self.origin_session_id,
            "local_session_id": self.local_session_id,
            "incoming": self.incoming,
            "local": self.local,
            "metadata": self.metadata,
            "transaction_id": self.transaction_id,
            "synced_at": self.synced_at,
        }


def fingerprint(chain: Chain, size: int) -> Json:
    """What a sidecar keeps of a transcript: entries, head link, size in bytes."""
    return {"entries": len(chain), "head": chain.head, "size": size}


def sidecar_path(lineage: str) -> str:
    """Where the sidecar of a lineage lies below ``session-sync/``."""
    return f"sidecars/{lineage}.json"


def lineage_of(path: str) -> str:
    """The lineage whose sidecar lies there."""
    return path.removeprefix("sidecars/").removesuffix(".json")


def read_sidecar(sync_dir: Path, lineage: str) -> str | None:
    """The text of a lineage's sidecar, to the byte; None if it has none.

    Raises HomeError ``sidecar_invalid`` if it is no text.
    """
    try:
        return (sync_dir / sidecar_path(lineage)).read_bytes().decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise HomeError(
            "sidecar_invalid",
            f"sidecar {lineage} is not UTF-8: {error}",
            hint="restore it from a backup, or move it away; nothing was changed",
        ) from error


def with_mapping(text: str | None, lineage: str, mapping: Mapping) -> str:
    """The sidecar's text after a mapping is added, or put in the place of that of the same pair.

    Raises HomeError ``sidecar_invalid`` if ``text`` is no sidecar.
    """
    mappings = _by_pair(text, lineage)
    added = mapping.to_json()
    return _document({**mappings, _pair(added): added}, lineage)


def with_mapping_of(text: str | None, other: str | None, lineage: str, pair: Pair) -> str | None:
    """The sidecar's text with what another version of it says of one pair, the rest as it is.

    None where nothing is left to say. Raises HomeError ``sidecar_invalid``.
    """
    mappings, wanted = _by_pair(text, lineage), _by_pair(other, lineage).get(pair)
    if mappings.get(pair) == wanted:
        return text
    mappings.pop(pair, None)
    if wanted is not None:
        mappings[pair] = wanted
    return _document(mappings, lineage) if mappings else None


def mappings_of(text: str, lineage: str) -> list[Mapping]:
    """What a sidecar says. Raises HomeError ``sidecar_invalid``."""
    return [Mapping(**mapping) for mapping in _mappings(text, lineage)]


def _document(mappings: dict[Pair, Json], lineage: str) -> str:
    document = {
        "schema": SCHEMA,
        "lineage_id": lineage,
        "fingerprint_version": FINGERPRINT_VERSION,
        "mappings": [mappings[pair] for pair in sorted(mappings)],
    }
    validation.check("sidecar", document, f"sidecar {lineage}", HomeError)
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _by_pair(text: str | None, lineage: str) -> dict[Pair, Json]:
    return {_pair(m): m for m in _mappings(text, lineage)} if text is not None else {}


def _pair(mapping: Json) -> Pair:
    return mapping["origin_session_id"], mapping["local_session_id"]


def _mappings(text: str, lineage: str) -> Iterator[Json]:
    document = validation.load("sidecar", text.encode(), f"sidecar {lineage}", HomeError)
    yield from document["mappings"]
