"""Answers by idempotency key: a request that comes again gets the answer that it got first.

One small file for each key, so that an answer is whole or not there. It is written once its
request has ended: what a kill comes before is done again, which finds it done in the home.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import orjson

from .. import validation
from ..durable import write_atomic
from ..errors import RequestError
from ..model import Json
from ..moments import now
from ..regular import read_regular
from .state import older

SCHEMA = "codex-session-sync/service-key/1"

_OTHER_KEY = "give every request a key of its own, and the same one only to what is sent again"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a key stands for: a request may come again only as it was."""

    key: str
    source: str
    mode: str
    digest: str


def digest(payload: Json) -> str:
    """SHA-256 of what a request says beside key, source and mode, whatever its spacing."""
    return hashlib.sha256(orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)).hexdigest()


class Keys:
    """The answers that were given."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, key: str) -> Json | None:
        """What is kept of a key; None also where it cannot be read, which costs doing it again."""
        try:
            document = orjson.loads(read_regular(self._path(key)))
        except (OSError, orjson.JSONDecodeError):
            return None
        if not validation.fits("service_key", document) or document["idempotencyKey"] != key:
            return None
        found: Json = document
        return found

    def answered(self, asked: Asked) -> Json | None:
        """The first answer to a request; None if it is new.

        Raises RequestError: ``idempotency_key_source_mismatch``,
        ``idempotency_key_mode_mismatch``, ``idempotency_key_payload_mismatch``.
        """
        kept = self.find(asked.key)
        if kept is None:
            return None
        require_same_sender(kept, asked.source, asked.mode)
        if kept["payloadSha256"] != asked.digest:
            raise payload_mismatch()
        result: Json = kept["result"]
        return {**result, "repeated": True}

    def keep(self, asked: Asked, result: Json, upload: Json | None = None) -> None:
        """Keep an answer, durably; ``upload``: what its chunks said. Raises OSError."""
        path = self._path(asked.key)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        document = {
            "schema": SCHEMA,
            "idempotencyKey": asked.key,
            "source": asked.source,
            "mode": asked.mode,
            "payloadSha256": asked.digest,
            "answeredAt": now(),
            "result": result,
            "upload": upload,
        }
        write_atomic(path, orjson.dumps(document))

    def expire(self, seconds: float) -> int:
        """Drop answers that are older; how many."""
        before = time.time() - seconds
        old = list(older(self._folder.glob("??/*.json"), before))
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:40]
        return self._folder / name[:2] / f"{name}.json"


def require_same_sender(kept: Json, source: str, mode: str) -> None:
    """Raise RequestError unless what a key is kept for has this source and mode."""
    if kept["source"] != source:
        raise RequestError(
            "idempotency_key_source_mismatch",
            "the idempotency key was given by another source",
            hint=_OTHER_KEY,
        )
    if kept["mode"] != mode:
        raise RequestError(
            "idempotency_key_mode_mismatch",
            "the idempotency key was given in another mode",
            hint=_OTHER_KEY,
        )


def payload_mismatch() -> RequestError:
    """``idempotency_key_payload_mismatch``: a key comes again with something else."""
    return RequestError(
        "idempotency_key_payload_mismatch",
        "the idempotency key was given to another request",
        hint=_OTHER_KEY,
    )
