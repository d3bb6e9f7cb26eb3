"""Frames: one JSON object a line, told apart by type, each judged by a schema of its own.

What is refused is told by place and rule, never by what stands there: it may be a conversation.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from .. import validation
from ..codex.rollout import deeper
from ..errors import RequestError, SyncError
from ..model import Json
from .limits import ServiceLimits

PROTOCOL = 1

ASKED = (
    *("import.batch", "import.chunk", "health.probe"),
    *("job.enqueue", "job.status", "job.cancel", "job.list"),
)
"""The types of frames that are answered one by one."""

TOLD = ("run.progress", "run.complete", "run.error", "health.status")
"""The types of frames that either side tells the other."""

RETRYABLE = frozenset(
    {"home_locked", "home_missing", "home_unreadable", "home_not_writable", "home_changed"}
    | {"database_busy", "database_missing", "transaction_interrupted", "session_busy"}
    | {"package_changed", "package_not_staged", "write_failed", "system_error", "interrupted"}
    | {"service_database_busy", "no_temporary_folder", "upload_limit", "job_limit"}
    | {"prerequisite_missing", "history_base_missing"}  # another package may bring it
)
"""The codes of what may come right by itself."""

SCHEMAS = {kind: "frame_" + kind.replace(".", "_") for kind in (*ASKED, *TOLD)}
"""The schema of each type that is read."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it came; ``seq`` is what the other side knows its answer by.

    ``document`` is all of it. What is of a wrong type is as if it were not there.
    """

    kind: str
    run_id: str
    seq: int | None = None
    payload: Json = field(default_factory=dict)
    document: Json = field(default_factory=dict, repr=False)


NO_FRAME = Frame("", "unknown")
"""In the place of a frame that cannot be read."""


def read_frame(line: bytes | None, limits: ServiceLimits) -> Frame:
    """A line as a frame, not judged yet; None is one that was too long to be kept.

    Raises RequestError: ``frame_too_long``, ``frame_not_json``, ``frame_too_deep``.
    """
    if line is None or len(line) > limits.frame_bytes + 1:
        raise RequestError(
            "frame_too_long",
            f"the line is longer than {limits.frame_bytes} bytes",
            hint="send large sessions in chunks, and fewer sessions in one request",
        )
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _not_json(f"no JSON, at its character {error.pos}") from None
    if not isinstance(document, dict):
        raise _not_json("no JSON object")
    many = line.count(b"{") + line.count(b"[") > limits.frame_depth
    if many and deeper(document, limits.frame_depth):
        raise RequestError(
            "frame_too_deep",
            f"the frame has more than {limits.frame_depth} objects and arrays in each other",
            hint="no session that Codex writes is so deep; leave the record out",
        )
    kind, run_id, seq, payload = (document.get(k) for k in ("type", "runId", "seq", "payload"))
    return Frame(
        kind if isinstance(kind, str) and kind in SCHEMAS else "",
        run_id if isinstance(run_id, str) and 0 < len(run_id) <= 200 else NO_FRAME.run_id,
        seq if type(seq) is int and 0 <= seq < 1 << 53 else None,
        payload if isinstance(payload, dict) else {},
        document,
    )


def judge(frame: Frame) -> None:
    """Raise RequestError unless a frame is as its schema has it.

    ``frame_type_unknown``, ``chunk_upload_id_required``, ``frame_invalid``. The items of a request
    are not looked at here, so that each is judged alone.
    """
    if not frame.kind:
        raise RequestError(
            "frame_type_unknown",
            "the frame has a type that is not known here",
            hint="references/import-service.md lists the types; leave the frame out",
        )
    document, payload = frame.document, frame.payload
    if frame.kind == "import.chunk" and payload:
        upload = payload.get("uploadId")
        if not isinstance(upload, str) or not upload:
            raise RequestError(
                "chunk_upload_id_required",
                "the chunk names no upload",
                hint="give all chunks of a session the same uploadId",
            )
    items = payload.get("items")
    if isinstance(items, list):
        bare = [{} if isinstance(item, dict) else item for item in items]
        document = {**document, "payload": {**payload, "items": bare}}
    problem = validation.misfit(SCHEMAS[frame.kind], document)
    if problem is not None:
        raise RequestError(
            "frame_invalid",
            f"the frame does not fit its schema: {problem}",
            hint="references/import-service.md has the fields of each frame",
        )


def answer(frame: Frame, kind: str, payload: Json) -> Json:
    """A frame that answers another one."""
    found: Json = {"type": kind, "runId": frame.run_id}
    if frame.seq is not None:
        found["seq"] = frame.seq
    return {**found, "payload": payload}


def refusal(frame: Frame, error: SyncError) -> Json:
    """The ``run.error`` that answers a frame."""
    payload: Json = {"code": error.code, "message": error.message[:1000]}
    if error.hint:
        payload["hint"] = error.hint[:1000]
    payload["retryable"] = error.code in RETRYABLE
    if frame.kind:
        payload["frame"] = frame.kind
    for key in ("idempotencyKey", "uploadId"):
        value = frame.payload.get(key)
        if isinstance(value, str) and 0 < len(value) <= 200:
            payload[key] = value
    return answer(frame, "run.error", payload)


def _not_json(what: str) -> RequestError:
    return RequestError(
        "frame_not_json",
        f"the line is {what}",
        hint="send each frame as one JSON object on a line of its own",
    )
