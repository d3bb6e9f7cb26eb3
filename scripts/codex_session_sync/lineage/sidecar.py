"""Sidecars: which incoming session stands for which local one, one document per lineage.

Derived state: the journal holds every version, and transcripts tell the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from .. import validation
from ..durable import safe_join
from ..errors import HomeError
from ..model import Chain, Json
from ..regular import read_regular
from .fingerprint import FINGERPRINT_VERSION

SCHEMA = "codex-session-sync/sidecar/1"
FOLDER = "sidecars"

_NAME = re.compile(r"[0-9a-f]{32}\.json")

Pair = tuple[str, str]
"""The ids of an incoming session and of the local one that stands for it."""

Mappings = dict[Pair, Json]
"""What a sidecar says, by pair, as its document has it."""


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
    transaction_id: str | None
    synced_at: str | None

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
    return f"{FOLDER}/{lineage}.json"


def lineage_of(path: str) -> str:
    """The lineage whose sidecar lies there."""
    return path.removeprefix(f"{FOLDER}/").removesuffix(".json")


def is_sidecar_name(name: str) -> bool:
    """Whether a file of that name among the sidecars is one."""
    return _NAME.fullmatch(name) is not None


def sidecar_lineages(sync_dir: Path) -> list[str]:
    """The lineages that have a sidecar, damaged or not, in order.

    Raises HomeError if their folder is a link (``path_escapes_home``) or something else
    (``sidecar_misplaced``).
    """
    folder = safe_join(sync_dir, FOLDER)
    if folder.exists() and not folder.is_dir():
        raise HomeError(
            "sidecar_misplaced",
            f"{folder} is not a folder",
            hint="move away what lies there, then run `codex-session-sync AGAIN`",
        )
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else ()
    return [name.removesuffix(".json") for name in names if is_sidecar_name(name)]


def read_sidecar(sync_dir: Path, lineage: str) -> str | None:
    """The text of a lineage's sidecar, to the byte; None if it has none.

    Raises HomeError ``sidecar_invalid`` if it is no text, or no file of its own, or lies in a
    folder that is a link.
    """
    path = sync_dir / sidecar_path(lineage)
    try:
        if path.parent.is_symlink():
            raise _unusable(lineage, "lies in a folder that is a link, which is not followed")
        return read_regular(path).decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise _unusable(lineage, f"is not UTF-8: {error}") from error
    except OSError as error:
        raise _unusable(lineage, f"cannot be read: {error.strerror or error}") from error


def _unusable(lineage: str, why: str) -> HomeError:
    return HomeError(
        "sidecar_invalid",
        f"sidecar {lineage} {why}",
        hint="`codex-session-sync rebuild-sidecar --execute` mends it, a link has to be moved "
        "away; "
        "then run `codex-session-sync AGAIN`",
    )


def with_mapping(text: str | None, lineage: str, mapping: Mapping) -> str:
    """The sidecar's text after a mapping is added, or put in the place of that of the same pair.

    Raises HomeError ``sidecar_invalid`` if ``text`` is no sidecar.
    """
    added = mapping.to_json()
    after = document({**by_pair(text, lineage), pair_of(added): added}, lineage)
    assert after is not None
    return after


def with_mapping_of(text: str | None, other: str | None, lineage: str, pair: Pair) -> str | None:
    """The sidecar's text with what another version of it says of one pair, the rest as it is.

    None where nothing is left to say. Raises HomeError ``sidecar_invalid``.
    """
    mappings, wanted = by_pair(text, lineage), by_pair(other, lineage).get(pair)
    if mappings.get(pair) == wanted:
        return text
    mappings.pop(pair, None)
    if wanted is not None:
        mappings[pair] = wanted
    return document(mappings, lineage)


def without_change(
    text: str | None, before: str | None, after: str | None, lineage: str
) -> str | None:
    """The sidecar's text with the change from ``before`` to ``after`` taken back, pair by pair.

    What is said of a pair is left alone where it is not what ``after`` says any more. None where
    nothing is left to say. Raises HomeError ``sidecar_invalid``.
    """
    now, old, new = (by_pair(version, lineage) for version in (text, before, after))
    for pair in old.keys() | new.keys():
        if old.get(pair) != new.get(pair) and now.get(pair) == new.get(pair):
            now.pop(pair, None)
            if pair in old:
                now[pair] = old[pair]
    return document(now, lineage)


def mappings_of(text: str, lineage: str) -> list[Mapping]:
    """What a sidecar says. Raises HomeError ``sidecar_invalid``."""
    return [Mapping(**mapping) for mapping in _mappings(text, lineage)]


def by_pair(text: str | None, lineage: str) -> Mappings:
    """What a sidecar says; nothing if there is none. Raises HomeError ``sidecar_invalid``."""
    return {pair_of(m): m for m in _mappings(text, lineage)} if text is not None else {}


def by_pair_as_written(text: str | None) -> Mappings:
    """What a sidecar says that this program has written, unchecked; nothing if there is none."""
    found = orjson.loads(text)["mappings"] if text is not None else ()
    return {pair_of(mapping): mapping for mapping in found}


def pair_of(mapping: Json) -> Pair:
    """The pair that a mapping is about."""
    return mapping["origin_session_id"], mapping["local_session_id"]


def document(mappings: Mappings, lineage: str) -> str | None:
    """A sidecar's text, the same whatever the order; None where there is nothing to say.

    Raises HomeError ``sidecar_invalid``.
    """
    if mappings:
        validation.check("sidecar", _whole(mappings, lineage), f"sidecar {lineage}", HomeError)
    return text_of(mappings, lineage)


def text_of(mappings: Mappings, lineage: str) -> str | None:
    """What ``document`` gives, unchecked: to be compared with what is there."""
    if not mappings:
        return None
    option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(_whole(mappings, lineage), option=option).decode()


def _whole(mappings: Mappings, lineage: str) -> Json:
    return {
        "schema": SCHEMA,
        "lineage_id": lineage,
        "fingerprint_version": FINGERPRINT_VERSION,
        "mappings": [mappings[pair] for pair in sorted(mappings)],
    }


def _mappings(text: str, lineage: str) -> Iterator[Json]:
    found = validation.load("sidecar", text.encode(), f"sidecar {lineage}", HomeError)
    yield from found["mappings"]
