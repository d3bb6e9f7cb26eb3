"""Makes the test vectors of the fingerprint: ``references/fingerprint-vectors.json``.

The inputs are here; the expected values are those of ``fingerprint_by_spec``, which knows nothing
of the program. Version 2 is fixed: cases may be added, none may change.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from fingerprint_by_spec import NIL, SEED, common, fingerprint

TARGET = Path(__file__).parents[1] / "references" / "fingerprint-vectors.json"
SCHEMA = "codex-session-sync/fingerprint-vectors/1"

Json = dict[str, Any]
Text = str | bytes
"""A line: bytes where it is no UTF-8."""

OWN = "019cac00-0001-7000-8000-000000000001"
PARENT = "019cac00-0002-7000-8000-000000000002"
ROOT = "019cac00-0003-7000-8000-000000000003"
FORMER = "019cac00-0004-7000-8000-000000000004"
SEGMENT = "019cac00-0005-7000-8000-000000000005"
STRANGER = "fedcba98-7654-4321-abcd-ef0123456789"
T = "2026-03-02T09:00:00.{:03d}Z"


@dataclass
class File:
    """A rollout file under construction."""

    segment: str = OWN
    thread: str = ""
    lines: list[Text] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The base name of the file."""
        thread = self.thread or self.segment
        tail = "" if thread == self.segment else f"_{self.segment}"
        return f"rollout-2026-03-02T09-00-00-{thread}{tail}.jsonl"

    @property
    def data(self) -> bytes:
        """The bytes of the file."""
        return b"".join(line if isinstance(line, bytes) else line.encode() for line in self.lines)


@dataclass(frozen=True)
class Case:
    """A session and what it shows; its newest file is the last."""

    name: str
    shows: str
    files: list[File]


def line(kind: str, payload: Json, at: int = 0, **more: Any) -> str:
    """A record in Codex's own spacing."""
    record = {"timestamp": T.format(at), "type": kind, "payload": payload, **more}
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"


def head(at: int = 0, *, segment: str = OWN, **meta: Any) -> str:
    """A paginated session's first record."""
    payload = {"id": segment, "cwd": "/home/alice", "history_mode": "paginated", **meta}
    return line("session_meta", payload, at)


def legacy_head(**meta: Any) -> str:
    """A legacy session's first record."""
    return line("session_meta", {"id": OWN, "cwd": "/home/alice", **meta})


def message(role: str, text: str, at: int = 0, **more: Any) -> str:
    """A message."""
    kind = "output_text" if role == "assistant" else "input_text"
    content = [{"type": kind, "text": text}]
    payload = {"type": "message", "role": role, "content": content}
    return line("response_item", payload, at, **more)


def event(kind: str, at: int = 0, **payload: Any) -> str:
    """An event."""
    return line("event_msg", {"type": kind, **payload}, at)


def raw(payload: str, at: int = 0, kind: str = "response_item") -> str:
    """A record whose payload is given as JSON text."""
    return f'{{"timestamp":"{T.format(at)}","type":"{kind}","payload":{payload}}}\n'


def environment(cwd: str) -> str:
    """The text that tells the model where it is."""
    return (
        f"<environment_context>\n  <cwd>{cwd}</cwd>\n  <shell>bash</shell>\n</environment_context>"
    )


def turn(number: int, text: str) -> list[Text]:
    """A legacy turn: markers, question, answer."""
    at = 10 * number
    return [
        event("task_started", at, turn_id=str(number)),
        message("user", text, at + 1),
        event("user_message", at + 2, message=text),
        event("agent_message", at + 3, message=f"answer to {text}"),
        message("assistant", f"answer to {text}", at + 4),
        event("task_complete", at + 5, turn_id=str(number)),
    ]


def base(segment: str, ordinal: int, offset: int) -> Json:
    """A reference to inherited history."""
    return {
        "thread_id": segment,
        "end_ordinal_exclusive": ordinal,
        "end_byte_offset": offset,
    }


def plain() -> list[Text]:
    """A session of two turns with every kind of record that is no entry."""
    return [
        head(0),
        event("task_started", 1),
        message("developer", "Be brief.", 2),
        message("user", environment("/home/alice/garden"), 3),
        line("turn_context", {"cwd": "/home/alice/garden", "model": "m"}, 4),
        event("thread_settings_applied", 5, thread_settings={"cwd": "/home/alice/garden"}),
        line("world_state", {"full": True, "state": {}}, 6),
        message("user", "Which beans climb?", 7, metadata={"beside": "the payload"}),
        event("item_completed", 8, item={"type": "UserMessage"}),
        message("assistant", "Runner beans do.", 9),
        event("token_count", 10, info=None),
        line("token_usage_record", {"response_id": "r"}, 11),
        event("task_complete", 12),
        message("user", "When do I sow them?", 13),
        message("assistant", "After the last frost.", 14),
    ]


def naming(one_id: str, other_id: str) -> list[Text]:
    """Entries that name two sessions."""
    return [
        message("user", f"{one_id} {other_id} rollout-2026-03-02T09-00-00-{one_id}.jsonl", 1),
        raw(f'{{"type":"other","{one_id}":{{"thread_id":"{other_id}"}},"z":["{other_id}"]}}', 2),
        raw(f'{{"message":"of {one_id}","replacement_history":["{other_id}"]}}', 3, "compacted"),
    ]


def no_records() -> list[Text]:
    """Lines that are no records, and after each kind of them an entry that counts."""
    good = message("user", "counts", 1)
    body = good.rstrip("\n")
    deep = '{"type":"message","x":' + "[" * 126 + "]" * 126 + "}"
    bad: list[Text] = [
        "\n",
        " \t\r\n",
        "garbage\n",
        body + "{}\n",
        body + "\0\n",
        "\ufeff" + good,
        body.encode().replace(b"counts", b"\xff\xfe") + b"\n",
        good.replace("counts", r"\ud800"),
        good.replace("counts", r"\ude00\ud83d"),
        good.replace("counts", "tab\tinside"),
        raw('{"n":NaN}'),
        raw('{"n":1e400}'),
        raw('{"n":01}'),
        raw('{"a":1,}'),
        raw("null"),
        raw('"text"'),
        raw("[]"),
        good.replace(f'"timestamp":"{T.format(1)}",', ""),
        good.replace(f'"{T.format(1)}"', "1"),
        good.replace('"type":"response_item",', ""),
        good.replace('"payload"', '"ordinal":true,"payload"'),
        good.replace('"payload"', '"ordinal":"7","payload"'),
        good.replace('"payload"', '"ordinal":-1,"payload"'),
        good.replace('"payload"', '"ordinal":7.0,"payload"'),
        raw(deep),
    ]
    kept: list[Text] = [
        good.replace("counts", "CRLF").replace("\n", "\r\n"),
        " \t" + good.replace("counts", "space before"),
        good.replace('"payload"', '"ordinal":null,"payload"').replace("counts", "null ordinal"),
        raw(deep.replace("[[", "[", 1).replace("]]", "]", 1)),
        message("user", "after all of them", 2),
        '{"timestamp":"2026-03-02T09:00:00.003Z","type":"response_item","payload":{"type":"mess',
    ]
    return [head(), *bad, *kept]


def fork_files() -> list[File]:
    """A parent with a torn line and a record without an ordinal, and a fork in its midst."""
    parent = File(PARENT)
    parent.lines = [
        head(0, segment=PARENT),
        message("user", "one", 1, ordinal=1),
        '{"timestamp":"torn\n',
        message("assistant", "no ordinal, before the end", 2),
        message("user", f"two, for {PARENT} and {OWN}", 3, ordinal=2),
    ]
    end = len(parent.data)
    parent.lines += [
        message("assistant", "no ordinal, after the end", 4),
        message("assistant", "after the fork", 5, ordinal=3),
        message("user", "never read: the file is cut before", 6, ordinal=0),
    ]
    child = File(OWN)
    child.lines = [
        head(
            7,
            forked_from_id=PARENT,
            forked_from_ordinal_exclusive=3,
            history_base=base(PARENT, 3, end),
        ),
        message("user", "own", 8, ordinal=4),
    ]
    return [parent, child]


def fork_of_fork_files() -> list[File]:
    """Three files; the newest cuts the oldest shorter than the one between does."""
    root = File(ROOT)
    root.lines = [head(0, segment=ROOT), message("user", "root", 1, ordinal=1)]
    short = len(root.data)
    root.lines += [message("assistant", "only the middle has this", 2, ordinal=2)]
    long = len(root.data)
    middle = File(PARENT)
    middle.lines = [
        head(3, segment=PARENT, forked_from_id=ROOT, history_base=base(ROOT, 3, long)).replace(
            '"type"', '"ordinal":3,"type"', 1
        ),
        message("user", "middle", 4, ordinal=4),
    ]
    leaf = File(OWN)
    leaf.lines = [
        head(5, forked_from_id=PARENT, history_base=base(PARENT, 2, 0)),
        message("user", f"a fork of {PARENT}, which is one of {ROOT}", 6, ordinal=3),
    ]
    assert short < long
    return [root, middle, leaf]


def reverted_files() -> list[File]:
    """A session that went back to before its second turn: two files of one thread."""
    first = File(OWN)
    first.lines = [head(0), message("user", "one", 1, ordinal=1)]
    end = len(first.data)
    first.lines += [message("user", "taken back", 2, ordinal=2)]
    second = File(SEGMENT, OWN)
    second.lines = [
        head(3, history_base=base(OWN, 2, end)),
        message("user", "instead", 4, ordinal=3),
    ]
    return [first, second]


def legacy_preamble() -> list[Text]:
    """The beginning of a legacy session: its first turn opens before the instructions."""
    return [
        legacy_head(),
        event("task_started", 1),
        message("developer", "Be brief.", 2),
        message("user", environment("/home/alice"), 3),
        message("user", "one", 4),
        event("user_message", 5, message="one"),
        message("assistant", "answer to one", 6),
        event("task_complete", 7),
    ]


def one(name: str, shows: str, *lines: Text) -> Case:
    """A case of one file."""
    return Case(name, shows, [File(lines=list(lines))])


def cases() -> list[Case]:
    """All cases."""
    keys = '{"\U0001f600":1,"\uffff":2,"b":3,"a":4,"B":5,"":6,"\\u00e9":7,"a\\u0000":8,"aa":9}'
    strings = r'{"s":"\u0000\u0001\b\t\n\u000b\f\r\u001f \"\\\/\u007f\u0080\u2028\u2029\ufeff\uffff'
    strings += '\\ud83e\\udd80 \U0001f980 e\u0301 \u00e9"}'
    numbers = (
        '{"n":[0,-0,-1,9007199254740993,18446744073709551615,-9223372036854775808,'
        "18446744073709551616,-9223372036854775809,123456789012345678901234567890,"
        "0.0,-0.0,-0e5,1.0,1e2,1E2,1.50,0.1e1,1795260569.9915314,0.1,0.30000000000000004,"
        "1e15,9999999999999998.0,1e16,12345678901234567.0,1e21,1.5e300,-2.5E+20,"
        "0.001,0.0001,0.00001,0.000012,0.0000099,1e-7,-1.25e-10,5e-324,1e-400,"
        "1.7976931348623157e308,9007199254740993.0,1e23]}"
    )
    env = json.dumps(environment("/somewhere else/<b>\nover two lines"))
    twice = json.dumps("<environment_context><cwd>/a</cwd><cwd></cwd><cwd>/b</cwd><cwd>open")
    late = json.dumps(" <environment_context><cwd>/kept</cwd>")
    part = '{"type":"input_text","text":%s}'
    user = '{"type":"message","role":"user","content":[%s]}'
    three = [*legacy_preamble(), *turn(1, "two"), *turn(2, "three")]

    def rolled_back(number: object) -> str:
        return event("thread_rolled_back", 90, num_turns=number)

    return [
        one("no_entries", "A session without entries has no links.", head(), event("task_started")),
        one("plain", "Entries are response_item records; nothing else counts.", *plain()),
        one(
            "plain_begun",
            "A prefix of the records has a prefix of the links.",
            *plain()[:10],
        ),
        one(
            "plain_elsewhere",
            "Directory, settings, record keys, spacing and key order make no difference.",
            head(0, cwd="/home/bob", originator="other"),
            *(
                json.dumps(json.loads(text), sort_keys=True).replace("alice/garden", "bob") + "\n"
                for text in plain()
                if '"response_item"' in str(text)
            ),
        ),
        one(
            "other_time",
            "The same payload at another time is another entry.",
            head(),
            message("developer", "Be brief.", 2),
            message("user", environment("/home/alice/garden"), 3).replace("003Z", "0030Z"),
        ),
        one(
            "ids",
            "Which ids an entry names does not count, in texts and in keys.",
            head(forked_from_id=PARENT),
            *naming(OWN, PARENT),
        ),
        Case(
            "ids_of_others",
            "The same under another id, with other ids in it.",
            [File(FORMER, lines=[head(segment=FORMER), *naming(STRANGER, ROOT)])],
        ),
        one(
            "id_forms",
            "What is an id depends on its own characters alone; of two that overlap the first is.",
            head(),
            message("user", f"abc{OWN}def x{PARENT}x {OWN}{PARENT} {OWN}-{PARENT}", 1),
            message("user", f"{OWN}{PARENT[8:]} {OWN}0{PARENT[8:]} {OWN}01234567{PARENT[8:]}", 2),
            message("user", f"{OWN[:-8]}{PARENT} {OWN[:-12]}{PARENT}", 3),
            message("user", f"{STRANGER.upper()} {STRANGER[:-1]}F {OWN[1:]} {OWN[:-1]}", 4),
            message("user", f"{OWN.replace('-', '')} {OWN.replace('-', '--')} {OWN[:-1]}g", 5),
            message("user", f"{OWN.replace('-', chr(0x2010))} {OWN.replace('0', chr(0xFF10))}", 6),
            message("user", NIL, 7),
            raw(f'{{"{PARENT}":"keys are sorted","{OWN}":"before ids are masked"}}', 8),
        ),
        one(
            "id_beside_an_escape",
            "An id is looked for in the bytes, where the digits of an escape are digits too.",
            head(),
            raw(rf'{{"s":"\u001f{OWN[2:]} \f{OWN[1:]} \b{OWN[1:]}"}}', 1),
        ),
        one(
            "ids_beside_the_payload",
            "In type and timestamp, and beside the payload, nothing is masked.",
            head(),
            message("user", "the timestamp is an id", 1).replace(T.format(1), OWN),
            message("user", "another one", 2, thread_id=OWN).replace(T.format(2), PARENT),
        ),
        one(
            "environment",
            "The directory of a user's environment message does not count; elsewhere it does.",
            head(),
            raw(user % ",".join([part % env, part % twice, part % late, '"text"', "{}"]), 1),
            raw(user.replace('"user"', '"developer"') % (part % env), 2),
            raw(f'{{"role":"user","content":{env}}}', 3),
            raw('{"role":"user","content":[{"text":["<environment_context><cwd>/x</cwd>"]}]}', 4),
            raw('{"type":"function_call_output","output":[%s]}' % (part % env), 5),
        ),
        one(
            "strings",
            "Keys in the order of their UTF-8 bytes; text as UTF-8; few escapes.",
            head(),
            raw(keys, 1),
            raw(strings, 2),
        ),
        one(
            "numbers",
            "Integers as they are, floats by their shortest digits.",
            head(),
            raw(numbers, 1),
        ),
        one(
            "values",
            "Words, empty and nested values; of equal keys the last counts.",
            head(),
            raw('{"a":[null,true,false,[],{},[[{"z":[1,{"b":2,"a":1}]}]]]}', 1),
            raw('{"a":1,"b":{"c":1,"c":2},"a":{"b":1},"a":3}', 2),
            raw('{"a":1}', 3).replace('"payload":', '"payload":{"a":2},"payload":'),
        ),
        one(
            "compacted",
            "Of a compaction count message and replacement_history, where they are not null.",
            head(),
            message("user", "one", 1),
            raw(
                '{"message":"summary","window_number":1,"replacement_history":'
                f'[{user % (part % env)},7,{{"role":"user"}}],"content":[{part % env}]}}',
                2,
                "compacted",
            ),
            raw('{"role":"user","message":"m","replacement_history":null}', 3, "compacted"),
            raw('{"message":null,"replacement_history":{"role":"user"}}', 4, "compacted"),
        ),
        one("no_records", "Lines that are no records are passed over.", *no_records()),
        one(
            "blank_lines_first",
            "Blank lines may stand before the head.",
            "\n",
            " \t\v\f\r\n",
            head(),
            message("user", OWN, 1),
        ),
        Case("fork", "A fork has its parent's entries up to the cut.", fork_files()),
        Case("fork_of_fork", "The shortest cut on the way counts.", fork_of_fork_files()),
        Case("reverted", "The newest file says what stays of the older.", reverted_files()),
        one(
            "paginated_events",
            "Turn events take nothing back in a paginated session.",
            *[head(), *three[1:], rolled_back(1)],
        ),
        one("legacy", "A legacy session of three turns.", *three),
        one(
            "legacy_rolled_back",
            "The last two of the user's turns are dropped, whole.",
            *three,
            rolled_back(2),
            *turn(4, "another two"),
        ),
        one(
            "legacy_later_preamble",
            "Of a later turn nothing stays, what stood before the user's message neither.",
            *legacy_preamble(),
            *turn(1, "two")[:1],
            message("developer", "Be kind, too.", 10),
            *turn(1, "two")[1:],
            rolled_back(1),
            *turn(3, "another two"),
        ),
        one(
            "legacy_all_rolled_back",
            "What stood before the first of the user's messages stays, each time.",
            *three,
            rolled_back(7),
            *turn(4, "another one")[:1],
            message("developer", "again", 40),
            *turn(4, "another one")[1:],
            rolled_back(1),
            *turn(5, "a third one"),
        ),
        one(
            "legacy_between",
            "Turns without a user's message stay; no integer takes nothing back.",
            *legacy_preamble(),
            *turn(1, "two"),
            event("task_started", 20),
            raw('{"message":"summary","replacement_history":[]}', 21, "compacted"),
            event("task_complete", 22),
            *turn(3, "three"),
            rolled_back("1"),
            rolled_back(1.0),
            rolled_back(True),
            rolled_back(-1),
            event("thread_rolled_back", 90),
            rolled_back(2),
            message("assistant", "in the turn that is open", 91),
        ),
        one(
            "legacy_steered",
            "Of several messages in a turn the first is where the preamble ends.",
            *legacy_preamble()[:-1],
            message("user", "and be quick", 7),
            event("user_message", 8, message="and be quick"),
            event("user_message", 9, message="without an entry"),
            rolled_back(1),
        ),
        one(
            "legacy_message_without_entry",
            "A user's message that has no entry in its turn leaves nothing before it.",
            legacy_head(),
            message("developer", "Be brief.", 1),
            message("user", environment("/home/alice"), 2),
            event("task_started", 3),
            message("assistant", "already?", 4),
            event("user_message", 5, message="no entry"),
            rolled_back(1),
        ),
        one(
            "legacy_without_markers",
            "Before the first task_started a turn is open as well.",
            legacy_head(),
            message("user", "one", 1),
            event("user_message", 2, message="one"),
            message("assistant", "answer to one", 3),
            *turn(1, "two"),
            rolled_back(2),
            message("assistant", "after it", 90),
        ),
        one(
            "legacy_fork",
            "A copied session_meta changes nothing; the first one counts.",
            legacy_head(forked_from_id=PARENT),
            line("session_meta", {"id": PARENT, "forked_from_id": ROOT}),
            message("user", f"{OWN} {PARENT} {ROOT}", 1),
        ),
    ]


COMPARISONS = (
    ("plain", "plain"),
    ("plain", "plain_begun"),
    ("plain", "plain_elsewhere"),
    ("plain", "other_time"),
    ("plain", "no_entries"),
    ("plain", "fork"),
    ("ids", "ids_of_others"),
    ("legacy", "legacy_rolled_back"),
    ("legacy", "legacy_all_rolled_back"),
    ("legacy", "paginated_events"),
    ("legacy", "legacy_between"),
)


def document() -> Json:
    """The whole document."""
    found = []
    links: dict[str, list[str]] = {}
    for case in cases():
        files = {file.segment: file.data for file in case.files}
        result = fingerprint(files, case.files[-1].segment)
        links[case.name] = result.links
        found.append(
            {
                "name": case.name,
                "shows": case.shows,
                "files": [
                    {"name": file.name, "lines": [_written(text) for text in file.lines]}
                    for file in case.files
                ],
                "entries": [
                    {"canonical": entry.decode(), "digest": digest}
                    for entry, digest in zip(result.entries, result.digests, strict=True)
                ],
                "links": result.links,
                "lineage_id": result.lineage_id,
            }
        )
    return {
        "schema": SCHEMA,
        "fingerprint_version": 2,
        "seed": SEED.hex(),
        "masked_id": NIL,
        "cases": found,
        "comparisons": [
            {"one": one, "other": other, "common": common(links[one], links[other])}
            for one, other in COMPARISONS
        ],
    }


def _written(text: Text) -> str | Json:
    return text if isinstance(text, str) else {"hex": text.hex()}


if __name__ == "__main__":
    TARGET.write_text(json.dumps(document(), indent=1) + "\n")
