"""Hostile texts, names of files, rows, tools, lists of names, and manifests."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from builders import dump, session_id
from hostile.corpus import (
    ESCAPES,
    FOREIGN,
    GOOD_MANIFEST,
    INVALID,
    SNAPSHOT,
    SOUND,
    TRANSFER,
    VICTIM,
    Docket,
    Parts,
    index_entry,
    sound,
    table,
    with_document,
    with_row,
)

CASES = Docket()

# -- texts ----------------------------------------------------------------------------------------


def _loud() -> Parts:
    """Escape sequences wherever a text is shown."""
    one = replace(VICTIM, name=ESCAPES, cwd=f"/home/{ESCAPES}", turns=((ESCAPES, ESCAPES),))
    return replace(
        sound(one, SOUND), index=dump([index_entry(one.id, ESCAPES), index_entry("x", ESCAPES)])
    )


CASES.taken("text: escapes wherever a text is shown", _loud)
CASES.taken(
    "text: escapes in names of the index",
    with_document(
        index=dump([index_entry(VICTIM.id, ESCAPES), index_entry(SOUND.id, "[red]" + ESCAPES)])
    ),
)
CASES.taken(
    "text: markup", lambda: sound(replace(VICTIM, name="[bold red]x[/] [link=file:///]y"), SOUND)
)
CASES.taken("text: a name of 1 MiB", lambda: sound(replace(VICTIM, name="n" * (1 << 20)), SOUND))
CASES.taken("text: a name of blanks", lambda: sound(replace(VICTIM, name=" \u3000\t"), SOUND))
CASES.taken(
    "text: right to left and wide",
    lambda: sound(replace(VICTIM, name=FOREIGN * 30), SOUND),
)
CASES.taken(
    "text: a directory of 1 MiB", lambda: sound(replace(VICTIM, cwd="/" * (1 << 20)), SOUND)
)
CASES.taken(
    "text: no words at all", lambda: sound(replace(VICTIM, turns=(("", ""),), name=None), SOUND)
)

# -- names of files -------------------------------------------------------------------------------


def _named(name: str, data: bytes | None = None) -> Callable[[], Parts]:
    """Another rollout beside the sound ones."""

    def build() -> Parts:
        parts = sound(VICTIM, SOUND)
        return replace(parts, rollouts={**parts.rollouts, name: data or VICTIM.data()})

    return build


ALIEN = "rollout-2026-03-02T09-10-00-"
for label, name in {
    "an id that is a path": f"{ALIEN}..%2f..%2fetc.jsonl",
    "a device": f"{ALIEN}CON.jsonl",
    "SQL": f"{ALIEN}'; DROP TABLE threads; --.jsonl",
    "upper case": f"{ALIEN}{session_id(5).upper().replace('0', 'A')}.jsonl",
    "a blank at its end": f"{ALIEN}{session_id(5)} .jsonl",
    "digits of another script": f"rollout-٢٠٢٦-03-02T09-10-00-{session_id(5)}.jsonl",
    "right to left": f"{ALIEN}\u202e{session_id(5)}.jsonl",
    "no id": "rollout-.jsonl",
}.items():
    CASES.taken(f"file name: {label}", _named(name))

CASES.refused(
    "file name: the 99th month",
    _named(f"rollout-9999-99-99T99-99-99-{session_id(5)}.jsonl", VICTIM.data()),
    INVALID,
)
CASES.refused(
    "file name: another session than inside", _named(f"{ALIEN}{session_id(5)}.jsonl"), INVALID
)
CASES.taken("file name: a compressed double", _named(f"{VICTIM.file_name}.zst", b"no zstd"))
CASES.refused(
    "file name: compressed, and is not", _named(f"{ALIEN}{session_id(5)}.jsonl.zst", b"x"), INVALID
)
for label, names in {
    "case": ("SKILL.md", "skill.md"),
    "normalisation": ("e\u0301.md", "\u00e9.md"),
}.items():
    doubles = {f"skills/garden/{name}": b"x" for name in names}
    CASES.taken(f"file name: doubles by {label}", with_document(more=doubles), kinds=(SNAPSHOT,))
    CASES.unfit(
        f"file name: doubles by {label} in a package",
        with_document(more=doubles),
        "package_unsafe",
        kinds=(TRANSFER,),
    )

# -- many -----------------------------------------------------------------------------------------


def _many_of_one_id(count: int) -> Callable[[], Parts]:
    """Files of one session, in segments and with stamps of their own; the newest is sound."""

    def build() -> Parts:
        parts = sound(VICTIM, SOUND)
        files = dict(parts.rollouts)
        head = dump(VICTIM.records()[:1])
        for number in range(count):
            stamp = f"2025-01-01T{number // 3600:02}-{number // 60 % 60:02}-{number % 60:02}"
            files[f"rollout-{stamp}-{VICTIM.id}_{session_id(10_000 + number)}.jsonl"] = head
        return replace(parts, rollouts=files)

    return build


CASES.taken("many: 10,000 files of one session", _many_of_one_id(10_000), large=True)
CASES.taken(
    "many: 10,000 rows of one session",
    with_document(rows=dump([VICTIM.row()] * 10_000)),
    kinds=(TRANSFER,),
    large=True,
)
CASES.taken(
    "many: 100,000 names of one session",
    with_document(index=dump([index_entry(VICTIM.id, "x")]) * 100_000),
    large=True,
)

# -- rows, tools, index, manifest -----------------------------------------------------------------

ROW, TOOL, MANIFEST = "thread_row_invalid", "dynamic_tool_invalid", "package_manifest_invalid"
for label, columns in table(
    {
        "SQL for a column": {'id"; DROP TABLE threads; --': 1, "a) VALUES (1); --": "x", "": 1},
        "SQL for values": dict.fromkeys(("title", "cwd", "preview"), "'); DROP TABLE threads; --"),
        "paths that lead out": {"rollout_path": "../../../../etc/passwd", "cwd": "../../.."},
        "a path that is another file": {"rollout_path": f"/x/{SOUND.file_name}"},
        "a Windows path": {"rollout_path": f"\\\\?\\C:\\x\\{VICTIM.file_name}"},
        "a path with NULs": {"rollout_path": "/x\0/y", "title": "a\0b", "preview": "\0"},
        "escapes": dict.fromkeys(
            ("title", "cwd", "preview", "source", "model", "git_branch"), ESCAPES
        ),
        "a title of 1 MiB": {"title": "t" * (1 << 20)},
        "largest numbers": dict.fromkeys(("created_at", "updated_at", "tokens_used"), 2**63 - 1),
        "fractions": {"created_at": 1.0, "updated_at": 2.0, "has_user_event": 0.5},
        "a thousand more columns": {f"column_{number}": number for number in range(1000)},
        "columns of this program": {"session-sync": 1, "thread_section_id": "x", "project_id": "y"},
    }
):
    CASES.taken(f"row: {label}", with_row(**columns), kinds=(TRANSFER,))

for label, columns in table(
    {
        "an id that is a path": {"id": "../../x"},
        "an id that is SQL": {"id": "x' OR '1'='1"},
        "an id with a newline": {"id": VICTIM.id + "\n"},
        "an id that is a number": {"id": 7},
        "a number too large": {"created_at": 2**63},
        "a negative time": {"updated_at": -1},
        "a list": {"title": []},
        "an object in a new column": {"novel": {}},
        "a number too large in a new column": {"novel": 2**63},
        "true": {"archived": True},
        "an archive state of 2": {"archived": 2},
    }
):
    CASES.unfit(f"row: {label}", with_row(**columns), ROW, kinds=(TRANSFER,))

for label, text in {
    "garbage": b"\xff\xfe",
    "an array": b"[]\n",
    "10,000 deep": b'{"a":' * 10_000,
    "a lone surrogate": b'{"id":"\\ud800"}\n',
    "NULs": bytes(1000),
    "a BOM": b"\xef\xbb\xbf" + dump([VICTIM.row()]),
}.items():
    CASES.unfit(f"rows: {label}", with_document(rows=text), ROW, kinds=(TRANSFER,))
    CASES.unfit(f"manifest: {label}", with_document(manifest=text), MANIFEST, kinds=(TRANSFER,))

TOOLS = {
    "thread_id": VICTIM.id,
    "position": 0,
    "name": "water",
    "description": "waters",
    "input_schema": "{}",
    "defer_loading": 0,
    "namespace": None,
}
for label, columns in table(
    {
        "escapes": {"name": ESCAPES, "description": ESCAPES, "input_schema": ESCAPES},
        "SQL for a column": {'x"); DROP TABLE threads; --': 1},
        "a session that is not there": {"thread_id": session_id(77)},
    }
):
    CASES.taken(
        f"tool: {label}", with_document(tools=dump([{**TOOLS, **columns}])), kinds=(TRANSFER,)
    )
for label, columns in table(
    {
        "a path for a session": {"thread_id": "../x"},
        "a newline behind a session": {"thread_id": VICTIM.id + "\n"},
        "a negative place": {"position": -1},
        "a large place": {"position": 10**9},
        "an object": {"input_schema": {}},
        "a number too large": {"novel": 2**63},
    }
):
    CASES.unfit(
        f"tool: {label}", with_document(tools=dump([{**TOOLS, **columns}])), TOOL, kinds=(TRANSFER,)
    )
CASES.taken(
    "tools: 1,000 for one place",
    with_document(tools=dump([TOOLS, {**TOOLS, "name": "other"}] * 500)),
    kinds=(TRANSFER,),
)

for label, members in table(
    {
        "a path for an id": {"thread_ids": ["../../x"]},
        "a newline behind an id": {"thread_ids": [VICTIM.id + "\n"]},
        "numbers for ids": {"thread_ids": [1]},
        "a text for ids": {"thread_ids": VICTIM.id},
        "a version that is a text": {"format_version": "1"},
        "a version that is true": {"format_version": True},
        "a kind that is a list": {"package_kind": []},
    }
):
    text = json.dumps({**GOOD_MANIFEST, **members}).encode()
    CASES.unfit(f"manifest: {label}", with_document(manifest=text), MANIFEST, kinds=(TRANSFER,))
for label, version in {"2": 2, "-1": -1, "2**63": 2**63}.items():
    text = json.dumps({**GOOD_MANIFEST, "format_version": version}).encode()
    CASES.unfit(
        f"manifest: version {label}",
        with_document(manifest=text),
        "package_version_unsupported",
        kinds=(TRANSFER,),
    )
CASES.refused(
    "manifest: a session that is not there",
    with_document(manifest=json.dumps({**GOOD_MANIFEST, "thread_ids": [session_id(77)]}).encode()),
    "transcript_missing",
    kinds=(TRANSFER,),
)
CASES.taken(
    "manifest: one id 10,000 times",
    with_document(
        manifest=json.dumps({**GOOD_MANIFEST, "thread_ids": [VICTIM.id] * 10_000}).encode()
    ),
    kinds=(TRANSFER,),
    large=True,
)

for label, text in {
    "garbage": b"\xff\xfe\0" * 100,
    "NULs": bytes(100_000),
    "10,000 deep": b"[" * 10_000,
    "wrong types": b'{"id":7,"thread_name":[]}\n{"id":null}\n[]\n7\nnull\n',
    "ids that are paths": dump([index_entry("../../etc/passwd", "x"), index_entry("", "y")]),
    "no newline": dump([index_entry(VICTIM.id, "x")]).strip() * 100,
    "a name of 1 MiB": dump([index_entry(VICTIM.id, "n" * (1 << 20))]),
    "doubled keys": b'{"id":"x","id":"' + VICTIM.id.encode() + b'","thread_name":1,'
    b'"thread_name":"twice"}\n',
}.items():
    CASES.taken(f"index: {label}", with_document(index=text))
