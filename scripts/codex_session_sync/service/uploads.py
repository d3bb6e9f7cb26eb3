"""Sessions that come in chunks: staged on disk, put together, verified.

What the chunks of an upload hold, one behind the other, is a stream of gzip or zstd; it may be
compressed as a whole and cut, or chunk by chunk. Decompressed it is the session's records as JSON
Lines.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from filelock import FileLock, Timeout

from .. import validation
from ..durable import sync_folder, write_atomic
from ..errors import HomeError, RequestError
from ..model import Json
from ..regular import read_regular
from .decoding import AGAIN, Lines, decode_failed, decompressed
from .keys import payload_mismatch, require_same_sender
from .limits import ServiceLimits
from .state import older

SCHEMA = "codex-session-sync/service-upload/1"
HEAD = "upload.json"
LOCK = "uploads.lock"

SHA256 = "sha256:"
"""What a fingerprint begins with that is the digest of the session's JSON Lines."""

_PARTS = "[0-9]*.part"


@dataclass(frozen=True, slots=True)
class Received:
    """How much of an upload is here; ``head`` is what its first chunk said of it."""

    head: Json
    received: int

    @property
    def whole(self) -> bool:
        """Whether all chunks are here."""
        return self.received == int(self.head["chunkTotal"])


@dataclass(frozen=True, slots=True)
class Assembled:
    """An upload put together: its JSON Lines, their digest, the first record."""

    lines: Path
    sha256: str
    first: Json


def head_of(payload: Json) -> Json:
    """What all chunks of an upload say alike."""
    found = {k: payload[k] for k in ("uploadId", "idempotencyKey", "source", "mode")}
    more = {k: payload[k] for k in ("chunkTotal", "encoding", "item")}
    return {"schema": SCHEMA, **found, "sourceHome": payload.get("sourceHome"), **more}


def data_of(payload: Json) -> bytes:
    """The bytes of a chunk. Raises RequestError ``chunk_payload_decode_failed``."""
    try:
        return base64.b64decode(payload["data"], validate=True)
    except (binascii.Error, ValueError):
        raise decode_failed("a chunk is no base64") from None


def short_digest(data: bytes) -> str:
    """What tells a chunk from another one of the same place."""
    return hashlib.sha256(data).hexdigest()[:16]


def require_same_head(known: Json, head: Json) -> None:
    """Raise RequestError unless a chunk says of its upload what the first one said.

    The codes are those of ``references/codes.md`` that begin with ``chunk_`` and end with
    ``_mismatch``, and ``idempotency_key_source_mismatch``.
    """
    if known["idempotencyKey"] == head["idempotencyKey"] and known["mode"] == head["mode"]:
        require_same_sender(known, head["source"], head["mode"])
    if known["chunkTotal"] != head["chunkTotal"]:
        raise RequestError(
            "chunk_total_mismatch",
            f"the upload has {known['chunkTotal']} chunks, as its first one said",
            hint=AGAIN,
        )
    if known["mode"] != head["mode"]:
        raise RequestError(
            "chunk_mode_mismatch", "the upload was begun in another mode", hint=AGAIN
        )
    if known["idempotencyKey"] != head["idempotencyKey"]:
        raise RequestError(
            "chunk_idempotency_key_mismatch",
            "the upload was begun with another idempotency key",
            hint=AGAIN,
        )
    if known["encoding"] != head["encoding"]:
        raise RequestError(
            "chunk_encoding_mismatch", "the upload was begun in another encoding", hint=AGAIN
        )
    require_same_item(known["item"], head["item"])


def require_same_item(known: Json, item: Json) -> None:
    """Raise RequestError unless a chunk is of the same session as the upload."""
    if known["sourceProvider"] != item["sourceProvider"]:
        raise RequestError(
            "chunk_item_source_provider_mismatch",
            "the upload is of a session of another provider",
            hint=AGAIN,
        )
    if known["sourceSessionId"] != item["sourceSessionId"]:
        raise other_session()
    if known["sourceSessionFingerprint"] != item["sourceSessionFingerprint"]:
        raise other_fingerprint()


def other_session() -> RequestError:
    """``chunk_item_source_session_id_mismatch``: an upload is not of the session that it names."""
    return RequestError(
        "chunk_item_source_session_id_mismatch",
        "the upload is of another session than the chunk names",
        hint=AGAIN,
    )


def other_fingerprint() -> RequestError:
    """``chunk_item_source_session_fingerprint_mismatch``: the session is not in that state."""
    return RequestError(
        "chunk_item_source_session_fingerprint_mismatch",
        "the upload is of another state of the session than the fingerprint says",
        hint=AGAIN,
    )


@dataclass(slots=True)
class Uploads:
    """The uploads of one folder; what is there is looked up, since another process may have come
    between. ``_sizes``: the bytes of an upload, and when its folder had changed last."""

    folder: Path
    limits: ServiceLimits
    _sizes: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(1 for _ in self.folder.glob(f"*/{HEAD}"))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have the uploads for this process, from a chunk to what comes of it. Raises HomeError
        ``home_locked``."""
        lock = FileLock(self.folder.with_name(LOCK))
        try:
            lock.acquire(timeout=self.limits.lock_seconds)
        except Timeout as error:
            raise HomeError(
                "home_locked",
                "another service is at an upload",
                hint="wait for it to end, then send the chunk again",
            ) from error
        try:
            yield
        finally:
            lock.release()

    def receive(self, payload: Json) -> Received:
        """Stage a chunk, durably; one that is here already changes nothing.

        Raises RequestError: what ``require_same_head`` raises, ``chunk_index_out_of_range``,
        ``chunk_payload_decode_failed``, ``idempotency_key_payload_mismatch``, ``upload_limit``,
        ``upload_too_large``; OSError.
        """
        head, place = head_of(payload), self._place(payload["uploadId"])
        known = self._head(place)
        if known is not None:
            require_same_head(known, head)
        index, total = payload["chunkIndex"], payload["chunkTotal"]
        if not 0 <= index < total:
            raise RequestError(
                "chunk_index_out_of_range",
                f"there is no chunk {index} of {total}",
                hint="count chunks from 0 to chunkTotal - 1",
            )
        data, part = data_of(payload), place / f"{index:06d}.part"
        if known is None:
            self._require_room(total, len(data), new=True)
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(mode=0o700)
            write_atomic(place / HEAD, orjson.dumps(head))
            sync_folder(self.folder)
        if not part.exists():
            self._require_room(total, len(data), new=False)
            write_atomic(part, data)
            held = self._sizes[place.name][1] + len(data)
            self._sizes[place.name] = place.stat().st_mtime_ns, held
        elif read_regular(part) != data:
            raise payload_mismatch()
        return Received(known or head, sum(path.suffix == ".part" for path in place.iterdir()))

    def digests(self, upload_id: str) -> list[str]:
        """Short digests of an upload's chunks, in order."""
        place = self._place(upload_id)
        return [short_digest(read_regular(path)) for path in sorted(place.glob(_PARTS))]

    def assemble(self, upload_id: str, target: Path) -> Assembled:
        """Write the JSON Lines of a whole upload to a file.

        Raises RequestError: ``chunk_payload_decode_failed``, ``chunk_payload_json_invalid``,
        ``upload_too_large``, ``chunk_item_source_session_fingerprint_mismatch``; OSError.
        """
        place = self._place(upload_id)
        head = self._head(place)
        assert head is not None
        parts = (read_regular(path) for path in sorted(place.glob(_PARTS)))
        lines = Lines()
        taken = 0
        with target.open("wb") as stream:
            for piece in decompressed(parts, head["encoding"], self.limits):
                taken += len(piece)
                if taken > self.limits.session_bytes:
                    raise _too_large(f"it comes to more than {self.limits.session_bytes} bytes")
                stream.write(piece)
                lines.feed(piece)
        first = lines.end()
        fingerprint = head["item"]["sourceSessionFingerprint"]
        if fingerprint.startswith(SHA256) and fingerprint != SHA256 + lines.sha256:
            raise other_fingerprint()
        return Assembled(target, lines.sha256, first)

    def drop(self, upload_id: str) -> None:
        """Forget an upload; nothing if there is none."""
        place = self._place(upload_id)
        self._sizes.pop(place.name, None)
        shutil.rmtree(place, ignore_errors=True)

    def expire(self) -> int:
        """Drop the uploads that have had no new chunk for too long; how many."""
        before = time.time() - self.limits.upload_seconds
        old = list(older(self.folder.iterdir(), before))
        for path in old:
            self._sizes.pop(path.name, None)
            shutil.rmtree(path, ignore_errors=True)
        return len(old)

    def _require_room(self, total: int, size: int, *, new: bool) -> None:
        limits = self.limits
        if total > limits.upload_chunks:
            raise _too_large(f"it has more than {limits.upload_chunks} chunks")
        count, held = len(self), self._held()
        if (new and count >= limits.uploads) or held + size > limits.upload_bytes:
            raise RequestError(
                "upload_limit",
                f"there are {count} open uploads with {held} bytes, which is the most",
                hint="end one of them first; those without a new chunk go after "
                f"{limits.upload_seconds // 3600} hours",
            )

    def _held(self) -> int:
        """The bytes of all chunks; of a folder that has not changed as they were."""
        found = {}
        for place in self.folder.iterdir():
            changed = place.stat().st_mtime_ns
            known = self._sizes.get(place.name)
            if known is None or known[0] != changed:
                known = changed, sum(part.stat().st_size for part in place.glob(_PARTS))
            found[place.name] = known
        self._sizes = found
        return sum(size for _, size in found.values())

    def _place(self, upload_id: str) -> Path:
        name = hashlib.sha256(upload_id.encode("utf-8", "surrogatepass")).hexdigest()[:40]
        return self.folder / name

    def _head(self, place: Path) -> Json | None:
        try:
            found = orjson.loads(read_regular(place / HEAD))
        except (OSError, orjson.JSONDecodeError):
            return None
        return found if validation.fits("service_upload", found) else None


def _too_large(what: str) -> RequestError:
    return RequestError(
        "upload_too_large",
        f"the upload is too large: {what}",
        hint="have it packed, `codex-session-sync pack -o FILE --session ID`, and name the package",
    )
