"""What this home has of which sessions, told by fingerprints: the document that ``have`` writes."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator

import orjson

from ..codex.home import CodexHome
from ..errors import SessionError
from ..lineage.differences import METADATA
from ..lineage.fingerprint import FINGERPRINT_VERSION, lineage_id
from ..local import LocalSessions
from ..model import Chain, Json, Notice, Transcript
from .gathering import installation_id

Progress = Callable[[int], None]

FORMAT = "codex-session-sync/have/1"


def holdings(home: CodexHome, progress: Progress | None = None) -> tuple[Json, tuple[Notice, ...]]:
    """The document that tells what ``home`` has, and what is to be said of it.

    It has links, entry counts and digests; no text, name or path. ``progress`` is told of bytes
    of transcripts as they are read. A session that cannot be read is left out with a notice.
    """
    local = LocalSessions(home)
    lineages: dict[str, list[Json]] = defaultdict(list)
    notices = []
    for session_id in sorted(local.rollouts.threads()):
        try:
            outline = local.read(session_id, progress)
        except SessionError as error:
            notices.append(Notice(error.code, error.message, session_id))
            continue
        lineage = lineage_id(outline.chain, session_id)
        lineages[lineage].append(_session(outline, local))
    document = {
        "format": FORMAT,
        "fingerprint_version": FINGERPRINT_VERSION,
        "home": installation_id(home),
        "lineages": [
            {"lineage_id": lineage, "sessions": sessions}
            for lineage, sessions in sorted(lineages.items())
        ],
    }
    return document, (*notices, *local.notices)


def metadata_digest(metadata: Json) -> str:
    """The SHA-256, in hex, of what of METADATA (see lineage.differences) is known."""
    known = {key: metadata[key] for key in METADATA if key in metadata}
    return hashlib.sha256(orjson.dumps(known, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _session(outline: Transcript, local: LocalSessions) -> Json:
    chain, mappings = outline.chain, local.standing_for_others(outline)
    synced = {int(m.incoming["entries"]): m.incoming["head"] for m in mappings}
    agreed = {n for n, head in synced.items() if 0 < n <= len(chain) and chain.link(n) == head}
    counts = {*_steps(chain), *agreed} - outline.entangled
    return {
        "session_id": outline.session_id,
        "history_mode": outline.mode,
        "entries": len(chain),
        "links": [[n, chain.link(n)] for n in sorted(counts, reverse=True)],
        "metadata": metadata_digest(local.metadata(outline.session_id)),
        "origins": [
            {
                "session_id": mapping.origin_session_id,
                "metadata": {
                    source: metadata_digest(known) for source, known in mapping.metadata.items()
                },
            }
            for mapping in mappings
        ],
    }


def _steps(chain: Chain) -> Iterator[int]:
    """Entry counts from the whole chain down to one, the gaps doubling.

    Where another copy has parted, the next count below is less far away than that place is from
    the end.
    """
    count, gap = len(chain), 1
    while count > 0:
        yield count
        count -= gap
        gap *= 2
    if len(chain) > 1:
        yield 1
