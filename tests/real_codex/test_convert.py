"""One session in two history modes: what is written is what Codex writes, and shows."""

from __future__ import annotations

import base64
import json
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from codex_session_sync.codex.convert import ModeConverter, Standing
from codexbed import (
    CURRENT,
    LEGACY,
    AppServer,
    CodexHome,
    ModelServer,
    SessionView,
    copy_home,
    function_call,
    message,
    records,
    rollout_files,
    view,
)
from codexbed.model_server import Item
from real_codex.syncing import Source, differences, file_of, shared, sync

Json = dict[str, Any]

PATCH = "*** Begin Patch\n*** Add File: {}\n+hello\n*** End Patch\n"
MCP_SERVER = """
import json, sys
SAY = {"name": "say", "description": "", "inputSchema": {"type": "object"}}
ANSWERS = {
    "tools/list": {"tools": [SAY]},
    "tools/call": {"content": [{"type": "text", "text": "said"}]},
}
for line in sys.stdin:
    asked = json.loads(line)
    if asked["method"] == "initialize":
        version = asked["params"]["protocolVersion"]
        answer = {"protocolVersion": version, "capabilities": {"tools": {}}}
        answer["serverInfo"] = {"name": "echo", "version": "1"}
    elif asked["method"] in ANSWERS:
        answer = ANSWERS[asked["method"]]
    else:
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": answer}), flush=True)
"""


def picture() -> bytes:
    """The smallest picture that Codex takes."""
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0),
        b"IDAT": zlib.compress(b"\0\xff\0\0"),
        b"IEND": b"",
    }
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def reasoning(*texts: str) -> Item:
    summary = [{"type": "summary_text", "text": text} for text in texts]
    return {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": None}


def searched(action: Mapping[str, Any]) -> Item:
    return {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": action}


def drawn() -> Item:
    result = base64.b64encode(picture()).decode()
    return {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": result}


def scripts(home: CodexHome) -> dict[str, tuple[Item, ...]]:
    """What the model says in one turn each, so that there is an item of every kind."""
    run = "exec_command"
    old = home.version == LEGACY
    say = function_call("mcp__echo__say", {}) if old else function_call("say", {}, "mcp__echo")
    seen = {"path": str(home.project / "seen.png")}
    return {
        "thoughts": (reasoning("one", "two"), message("thought")),
        "command": (message("I run it"), function_call(run, {"cmd": "echo x; false"})),
        "patch": (function_call(run, {"cmd": f"apply_patch <<'EOF'\n{PATCH.format('a b')}EOF\n"}),),
        "seen": (function_call("view_image", seen),),
        "search": (searched({"type": "search", "query": "rain"}), message("found")),
        "opened": (searched({"type": "open_page", "url": "http://127.0.0.1/"}), message("read")),
        "drawn": (drawn(), message("there it is")),
        "mcp": (say,),
        "dynamic": (function_call("my_tool", {"a": 1}),),
        "phases": (
            {**message("comment"), "phase": "commentary"},
            {**message("final"), "phase": "final_answer"},
        ),
    }


def images(home: CodexHome) -> list[Json]:
    url = "data:image/png;base64," + base64.b64encode(picture()).decode()
    element = {"byteRange": {"start": 0, "end": 2}, "placeholder": "p"}
    return [
        {"type": "text", "text": "sié "},
        {"type": "text", "text": "here", "text_elements": [element]},
        {"type": "image", "url": url},
        {"type": "localImage", "path": str(home.project / "seen.png")},
    ]


def home_with_tools(folder: Path, model: ModelServer, version: str = CURRENT) -> CodexHome:
    command, arguments = json.dumps(sys.executable), json.dumps(["-c", MCP_SERVER])
    home = CodexHome(
        folder / "home",
        folder / "user",
        model,
        version=version,
        sandbox_mode="danger-full-access",
        extra_config=f"[mcp_servers.echo]\ncommand = {command}\nargs = {arguments}",
    ).prepare()
    (home.project / "seen.png").write_bytes(picture())
    return home


def start(app: AppServer, home: CodexHome, **how: Any) -> str:
    tool = {"name": "my_tool", "description": "", "inputSchema": {"type": "object"}}
    return app.start(home.project, dynamicTools=[tool], **how)


def use_everything(app: AppServer, home: CodexHome, session: str) -> None:
    """Turns with items of every kind, a compaction and a review."""
    for kind, items in scripts(home).items():
        home.server.script(*items, when=f"{kind}: {session}")
        app.start_turn(session, f"{kind}: {session}")
    app.start_turn(session, "", input=images(home))
    app.compact(session)
    settled(app, "thread/shellCommand", session, command="echo by the user")
    settings = {"model": "mock-model", "reasoning_effort": None, "developer_instructions": None}
    for mode in ("plan", "default"):
        text = f"{mode}: {session}"
        home.server.script(message("<proposed_plan>\n# Plan\n</proposed_plan>\n"), when=text)
        app.start_turn(session, text, collaborationMode={"mode": mode, "settings": settings})


def review(app: AppServer, session: str) -> None:
    target = {"type": "custom", "instructions": "look at it"}
    settled(app, "review/start", session, delivery="inline", target=target)
    app.start_turn(session, "after the review")


def settled(app: AppServer, method: str, session: str, **params: Any) -> None:
    since = len(app.notifications)
    app.request(method, {"threadId": session, **params})
    app.wait_for("turn/completed", since=since, threadId=session)


# -- as Codex migrates --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def old_tools(base: Path, model: ModelServer) -> tuple[CodexHome, str]:
    """A session by the old release that keeps record of everything, and another that does not."""

    def make(folder: Path) -> str:
        home = home_with_tools(folder, model, LEGACY)
        with home.app_server() as app:
            for extended in (True, False):
                session = start(app, home, persistExtendedHistory=extended)
                use_everything(app, home, session)
                review(app, session)
        return session

    folder, session = shared(base, "convert-old", make)
    home = CodexHome(folder / "home", folder / "user", model)
    return home, session


@pytest.fixture(scope="module")
def new_tools(base: Path, model: ModelServer) -> tuple[CodexHome, str, str]:
    """A session in each history mode by the current release."""

    def make(folder: Path) -> tuple[str, str]:
        home = home_with_tools(folder, model)
        with home.app_server() as app:
            found = tuple(start(app, home, historyMode=mode) for mode in ("legacy", "paginated"))
            for session in found:
                use_everything(app, home, session)
            review(app, found[0])
        return found[0], found[1]

    folder, sessions = shared(base, "convert-new", make)
    return CodexHome(folder / "home", folder / "user", model), *sessions


def migrated(home: CodexHome, target: Path) -> CodexHome:
    copied = copy_home(home, target).prepare()
    done = copied.run("migrate-rollouts", "--apply")
    assert done.returncode == 0, done.stdout
    return copied


def converted(legacy: Sequence[Json]) -> Iterator[Json]:
    """A whole legacy file, by the code under test."""
    converter = ModeConverter("paginated", legacy[0]["payload"]["id"])
    standing = Standing()
    for record in legacy:
        standing.note(record)
    for record, stands in zip(legacy, standing.flags, strict=True):
        if stands:
            yield from converter.convert(record)
    yield from converter.finish()


RESERIALISED = ("session_meta", "turn_context", "compacted", "world_state", "token_usage_record")
EVENTS_RESERIALISED = ("token_count", "thread_settings_applied")


def comparable(record: Json) -> Json:
    """A record without its ordinal, and without what Codex writes with its own release's fields."""
    payload = record["payload"]
    kind = payload.get("type")
    if record["type"] in RESERIALISED or kind in EVENTS_RESERIALISED:
        payload = {"type": kind, "history_mode": payload.get("history_mode")}
    return {"timestamp": record["timestamp"], "type": record["type"], "payload": payload}


def check_migration(home: CodexHome, folder: Path) -> int:
    """Compare each legacy file, converted, with what Codex makes of it; return how many."""
    new = migrated(home, folder)
    count = 0
    for path in rollout_files(home.home):
        legacy = records(path)
        if legacy[0]["payload"].get("history_mode") == "paginated":
            continue
        count += 1
        theirs = records(new.home / path.relative_to(home.home))
        ours = [comparable(record) for record in converted(legacy)]
        assert ours == [comparable(record) for record in theirs], path.name
    return count


def test_every_kind_of_item_is_migrated_as_by_codex(
    old_tools: tuple[CodexHome, str], new_tools: tuple[CodexHome, str, str], tmp_path: Path
) -> None:
    assert check_migration(old_tools[0], tmp_path / "old") >= 2
    assert check_migration(new_tools[0], tmp_path / "new") >= 1


def test_every_kind_of_legacy_session_is_migrated_as_by_codex(
    source: Source, tmp_path: Path
) -> None:
    kinds = [k for k in source.made if k.startswith("legacy")]
    assert check_migration(source.home, tmp_path / "migrated") == len(kinds)


# -- files as older releases left them ----------------------------------------------------------


def said_by(role: str, text: str) -> Json:
    kind = "output_text" if role == "assistant" else "input_text"
    payload = {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
    return {"type": "response_item", "payload": payload}


def event(kind: str, **fields: Any) -> Json:
    return {"type": "event_msg", "payload": {"type": kind, **fields}}


def asked(text: str) -> list[Json]:
    shown = event("user_message", message=text, images=[], local_images=[], text_elements=[])
    return [said_by("user", text), shown]


def answered(text: str) -> list[Json]:
    return [event("agent_message", message=text), said_by("assistant", text)]


def begun(turn: str) -> Json:
    started = {"model_context_window": 1, "collaboration_mode_kind": "default"}
    return event("task_started", turn_id=turn, **started)


def ended(turn: str) -> Json:
    return event("task_complete", turn_id=turn, last_agent_message=None)


def command(turn: str, cwd: str = "/x") -> Json:
    ran = {"command": ["ls"], "cwd": cwd, "parsed_cmd": [], "stdout": "", "stderr": ""}
    took = {"duration": {"secs": 1, "nanos": 5}, "exit_code": 0, "formatted_output": ""}
    named = {"call_id": f"of {turn}", "turn_id": turn, "status": "completed"}
    return event("exec_command_end", **named, **ran, **took, aggregated_output="")


def patch(turn: str, success: bool) -> Json:
    status = "completed" if success else "failed"
    written = {"stdout": "", "stderr": "bad", "success": success, "changes": {}, "status": status}
    return event("patch_apply_end", call_id="p", turn_id=turn, **written)


def tool(result: Json) -> Json:
    asked_for = {"server": "s", "tool": "t", "arguments": None}
    took = {"secs": 0, "nanos": 5}
    return event(
        "mcp_tool_call_end", call_id="m", invocation=asked_for, duration=took, result=result
    )


def rolled_back(count: object) -> Json:
    return event("thread_rolled_back", num_turns=count)


BEGINNING = [said_by("user", "of the machine")]
OLD_FILES: dict[str, list[Json]] = {
    "no turns": [
        *BEGINNING,
        *asked("one"),
        *answered("a"),
        *asked("two"),
        event("agent_reasoning", text="r1"),
        event("agent_reasoning_raw_content", text="raw"),
        *BEGINNING,
        event("agent_reasoning", text="r2"),
        *answered("b"),
        event("agent_reasoning", text="r3"),
        event("context_compacted"),
        event("agent_reasoning", text=""),
    ],
    "turns without ids": [
        event("task_started", model_context_window=1),
        *asked("one"),
        *answered("a"),
        event("task_complete", last_agent_message="a"),
        *asked("two"),
        *answered("b"),
    ],
    "outside of turns": [
        begun("t1"),
        *asked("one"),
        ended("t1"),
        *asked("late"),
        *answered("later"),
        begun("t2"),
        ended("t1"),
        *asked("two"),
        ended("t2"),
        event("context_compacted"),
        ended("t9"),
        *answered("stray"),
        begun("t3"),
        event("turn_aborted", reason="interrupted"),
        *answered("stray again"),
        *asked("three"),
    ],
    "of other turns": [
        begun("t1"),
        *asked("one"),
        ended("t1"),
        command("t1"),
        *answered("stray"),
        begun("t2"),
        command("t1"),
        patch("unknown", success=False),
        ended("t2"),
        command("never begun"),
        *answered("with it"),
        *asked("with it too"),
        *asked("not with it"),
    ],
    "odd values": [
        begun("t1"),
        event("user_message", message=" ", images=[], local_images=[], text_elements=[]),
        event(
            "user_message",
            message="m",
            images=["http://a", "http://b", "http://c"],
            image_details=[None, "low"],
            local_images=["/a", "/b"],
            local_image_details=["high"],
        ),
        event("agent_message", message=" "),
        event("agent_message", message=""),
        event("agent_message"),
        event("user_message", message=7),
        event("agent_reasoning"),
        command("t1", cwd="/a#b?c%d[é]^|{} ~'()!@:&=+,;$`<>\"\\"),
        tool({"Err": "boom"}),
        tool({"Ok": {"content": [], "isError": True}}),
        event("web_search_end", query="no id", action={"type": "other"}),
        event("web_search_end", call_id="no action", query="q"),
        event("image_generation_end", call_id="i", status="failed", result="", saved_path="/a b"),
        event("view_image_tool_call", call_id="v", path="/a"),
        event("entered_review_mode", target={"type": "uncommittedChanges"}),
        event("exited_review_mode", review_output=None),
        ended("t1"),
        *answered("numbered by what could be read"),
    ],
    "taken back": [
        *BEGINNING,
        begun("t1"),
        said_by("user", "of this machine"),
        *asked("one"),
        *answered("a"),
        ended("t1"),
        rolled_back(1),
        *asked("two"),
        begun("t3"),
        *asked("three"),
        ended("t3"),
        rolled_back(0),
        rolled_back("1"),
        begun("t4"),
        said_by("user", "summary"),
        event("context_compacted"),
        ended("t4"),
        begun("t5"),
        *asked("five"),
        ended("t5"),
        rolled_back(1),
        begun("t6"),
        *asked("six"),
        ended("t6"),
        *answered("stray"),
    ],
    "all taken back": [begun("t1"), *asked("one"), ended("t1"), *asked("two"), rolled_back(9)],
}


def write_legacy(home: CodexHome, number: int, found: Sequence[Json]) -> None:
    session = f"019cac00-0001-7000-8000-{number:012}"
    head = {"id": session, "timestamp": "2026-03-02T09:00:00.000Z", "cwd": str(home.project)}
    head |= {"originator": "codex_cli_rs", "cli_version": "0.118.0", "source": "cli"}
    first = {"type": "session_meta", "payload": {**head, "model_provider": "mock"}}
    path = home.home / f"sessions/2026/03/02/rollout-2026-03-02T09-00-00-{session}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (
        json.dumps({"timestamp": f"2026-03-02T09:00:{place:02}.123Z", **record})
        for place, record in enumerate([first, *found])
    )
    path.write_text("\n".join([*lines, ""]))


def test_turns_that_nobody_began_and_values_that_are_odd(
    model: ModelServer, base: Path, tmp_path: Path
) -> None:
    home = CodexHome(tmp_path / "home", tmp_path / "user", model).prepare()
    for number, found in enumerate(OLD_FILES.values()):
        write_legacy(home, number, found)
    assert check_migration(home, tmp_path / "migrated") == len(OLD_FILES)


# -- fast-forwards between the modes ------------------------------------------------------------

NOT_SHOWN_IN_LEGACY = ("commandExecution", "dynamicToolCall", "imageView")


def without(seen: SessionView, kinds: Sequence[str]) -> SessionView:
    """A view without the items of some kinds, and with each user's words as one text."""
    turns = tuple(
        {**turn, "items": [joined(item) for item in turn["items"] if item["type"] not in kinds]}
        for turn in seen.turns
    )
    return replace(seen, turns=turns)


def joined(item: Json) -> Json:
    """A user's message as legacy sessions have it: its texts as one."""
    if item["type"] != "userMessage":
        return item
    texts = [part for part in item["content"] if part["type"] == "text"]
    others = [part for part in item["content"] if part["type"] != "text"]
    text, elements = "", []
    for part in texts:
        for element in part["text_elements"]:
            span = {k: v + len(text.encode()) for k, v in element["byteRange"].items()}
            elements.append({**element, "byteRange": span})
        text += part["text"]
    whole = [{"type": "text", "text": text, "text_elements": elements}] if texts else []
    return {**item, "content": [*whole, *others]}


def test_a_paginated_session_extends_a_legacy_copy(
    base: Path, model: ModelServer, tmp_path: Path
) -> None:
    local = home_with_tools(tmp_path / "local", model)
    with local.app_server() as app:
        session = start(app, local, historyMode="legacy")
        app.start_turn(session, "begun in legacy mode")
    there = migrated(local, tmp_path / "there")
    with there.app_server() as app:
        app.resume(session)
        use_everything(app, there, session)
    # Else the policy leaves out settings that decide what the model is told on the next turn.
    answer = sync(local, there.home, "--trust-package")
    assert answer.sessions[session]["result"] == "fast_forwarded"
    assert sync(local, there.home).status == "no_op"
    wanted = view(there, [session])[session]
    got = view(local, [session])[session]
    assert got.problem is None
    assert differences(without(wanted, NOT_SHOWN_IN_LEGACY), got) == {}
    # What a legacy session does not show is there again once it is migrated.
    again = migrated(local, tmp_path / "again")
    assert differences(without(wanted, ()), view(again, [session])[session]) == {}
    assert sync(again, there.home).status == "no_op"


def test_a_legacy_session_extends_a_migrated_copy(
    base: Path, model: ModelServer, tmp_path: Path
) -> None:
    there = home_with_tools(tmp_path / "there", model, LEGACY)
    with there.app_server() as app:
        session = start(app, there)
        app.start_turn(session, "one")
        app.start_turn(session, "two")
    local = migrated(replace(there, version=CURRENT), tmp_path / "local")
    with there.app_server() as app:
        app.resume(session)
        app.start_turn(session, "three, taken back")
        app.start_turn(session, "four, taken back")
        app.rollback(session, 2)
        use_everything(app, there, session)
        app.start_turn(session, "taken back as well")
        app.rollback(session, 1)
    answer = sync(local, there.home)
    assert answer.sessions[session]["result"] == "fast_forwarded"
    assert sync(local, there.home).status == "no_op"
    new = replace(there, version=CURRENT)
    whole = migrated(new, tmp_path / "whole")
    assert [comparable(record) for record in records(file_of(local.home, session))] == [
        comparable(record) for record in records(file_of(whole.home, session))
    ]
    mask = {str(there.home): "<home>"}
    wanted, shown, got = (view(home, [session], mask)[session] for home in (whole, new, local))
    assert got.problem is None
    assert differences(wanted, got) == {}
    assert differences(shown, got) == {}
