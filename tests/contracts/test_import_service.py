"""``references/import-service.md``: its conversation, its tables, its limits are the program's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from builders import Session
from codex_session_sync import validation
from codex_session_sync.service.frames import SCHEMAS
from codex_session_sync.service.limits import DEFAULT_SERVICE_LIMITS
from contracts.test_codes import table
from service_frames import bare_environment, batch, changed, chunks, frame, item, serving

PAGE = Path(__file__).parents[2] / "references" / "import-service.md"
_BLOCK = re.compile(r"```frames\n(.*?)```", re.DOTALL)
_VARYING = (
    (re.compile(r"\d{8}T\d{12}Z-[0-9a-f]{8}"), "20260309T120000000000Z-01234567"),
    (re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}"), "20260309T120000Z-01234567"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "2026-03-09T12:00:00.000Z"),
    (re.compile(r'"(uptimeSeconds|lagSeconds)":[0-9.e-]+'), r'"\1":0.0'),
    (re.compile(r'"(waitingFrames|waitingBytes)":\d+'), r'"\1":0'),
    (re.compile(r'"state":"working"'), '"state":"idle"'),
    (re.compile(r'"version":"[^"]*"'), '"version":"0.1.0"'),
)

JOB = "20260309T120000Z-01234567"
"""In the place of the job's id, which differs."""

ROSES = Session(1, start=10).say("How do I prune roses?", "Above a bud.")
COMPOST = Session(2, start=20, name="Compost").say("What goes on the heap?", "Peel.")


def asked() -> list[dict[str, Any]]:
    """What the page's program sends."""
    first = batch("laptop/1", [item(ROSES), {"package": "/nowhere"}], 1)
    parts = chunks(COMPOST, "laptop/2", "upload-1", 2)
    job = {"idempotencyKey": "laptop/3", "source": "laptop", "mode": "backfill"}
    more = item(ROSES.say("And climbing ones?", "The same."))
    return [
        first,
        {**first, "seq": 2},
        {**changed(first, mode="backfill"), "seq": 3},
        parts[1],
        parts[0],
        frame("health.probe", 4),
        frame("job.enqueue", 5, **job, items=[more]),
        frame("job.status", 6, jobId=JOB),
        frame("run.complete", 7),
    ]


def compact(one: object) -> str:
    return json.dumps(one, separators=(",", ":"), ensure_ascii=False)


def normal(text: str) -> str:
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return text


def conversation(folder: Path, frames: list[dict[str, Any]]) -> str:
    """What is said and answered, line by line; a job's own frames where they come."""
    (folder / "home").mkdir()
    lines, job = [], JOB
    with serving(folder / "home", bare_environment(folder)) as spoken:
        for one in frames:
            lines.append(f"> {compact(one)}")
            spoken.send(json.loads(json.dumps(one).replace(JOB, job)))
            answer = spoken.next()
            lines.append(f"< {compact(answer)}")
            if one["type"] == "job.enqueue":
                job = answer["payload"]["job"]["jobId"]
                lines += [f"< {compact(spoken.next())}" for _ in range(2)]
        rest = spoken.close()
    lines += [f"< {compact(one)}" for one in rest]
    assert spoken.process.returncode == 1
    return normal("\n".join(lines) + "\n")


def test_the_conversation_of_the_page_is_had(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    text = PAGE.read_text(encoding="utf-8")
    if request.config.getoption("--refill"):
        now = conversation(tmp_path, asked())
        PAGE.write_text(_BLOCK.sub(lambda _: f"```frames\n{now}```", text), encoding="utf-8")
        return
    [told] = _BLOCK.findall(text)
    sent = [json.loads(line[2:]) for line in told.splitlines() if line.startswith("> ")]
    assert conversation(tmp_path, sent) == told, "look at it, and refill with --refill"


def test_every_frame_of_the_page_fits_its_schema() -> None:
    [told] = _BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    seen = set()
    for one in told.splitlines():
        document = json.loads(one[2:])
        schema = "frame_" + document["type"].replace(".", "_")
        assert validation.misfit(schema, document) is None
        seen.add(document["type"])
    assert {"import.batch", "import.chunk", "import.result", "run.error", "job.result"} <= seen


def test_the_types_are_those_of_the_program() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`{kind}`" in text for kind in SCHEMAS)
    given = {name.removeprefix("frame_") for name in validation.schema_names()}
    assert {kind.replace(".", "_") for kind in SCHEMAS} <= given


def test_the_codes_of_the_service_are_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for code, (where, _, _) in table().items():
        if {"frame", "item"} & set(where.split("; ")):
            assert f"`{code}`" in text or code.startswith("idempotency_key"), code


def test_the_limits_are_those_of_the_program() -> None:
    limits = DEFAULT_SERVICE_LIMITS
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    for told in (
        f"{limits.frame_bytes >> 20} MiB, {limits.frame_depth} objects",
        f"wait | {limits.waiting_bytes >> 20} MiB",
        f"{limits.uploads}, with {limits.upload_bytes >> 30} GiB",
        f"{limits.upload_chunks:,} chunks, {limits.session_bytes >> 30} GiB decompressed",
        f"{limits.window_bytes >> 20} MiB of memory",
        f"{limits.upload_seconds // 3600} hours",
        f"{limits.kept_seconds // 86400} days",
        f"ended | {limits.jobs:,}",
    ):
        assert told in text, told
