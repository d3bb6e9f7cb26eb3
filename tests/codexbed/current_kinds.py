"""Sessions made by the current release, one maker per kind."""

from __future__ import annotations

from codexbed.app_server import AppServer
from codexbed.codex import CodexHome
from codexbed.making import Made, MadeSession, current, next_second, slow, spawn, talk
from codexbed.model_server import function_call

CONTROL_TEXT = "".join(chr(code) for code in range(1, 32)) + "\x7f\x85"
UNICODE_TEXT = (
    "emoji \U0001f469\u200d\U0001f4bb\U0001f1eb\U0001f1ee cjk \u6f22\u5b57\u304b\u306a\ud55c\uae00 "
    "rtl \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u202e reversed \u202c "
    "combining e\u0301 separators \u2028 and \u2029 end bom \ufeff nonchar \uffff "
    f"control {CONTROL_TEXT} quotes \"'\\ </environment_context> end"
)
LONG_LINE = "long line " * 20_000
UNICODE_NAME = "na\u00efve \u540d\u524d \U0001f980"


@current
def plain(home: CodexHome, app: AppServer) -> Made:
    """One turn."""
    return [MadeSession("plain", talk(home, app, "plain", "one"))]


@current
def exec_made(home: CodexHome, app: AppServer) -> Made:
    """One turn by `codex exec`, one by `codex exec resume`."""
    session_id = home.exec("exec_made: one")
    home.exec_resume(session_id, "exec_made: two")
    return [MadeSession("exec_made", session_id)]


@current
def several_turns(home: CodexHome, app: AppServer) -> Made:
    """Five turns."""
    texts = ("one", "two", "three", "four", "five")
    return [MadeSession("several_turns", talk(home, app, "several_turns", *texts))]


@current
def unicode(home: CodexHome, app: AppServer) -> Made:
    """Texts that are hard to keep, and a name of the same sort."""
    session_id = talk(home, app, "unicode", UNICODE_TEXT, LONG_LINE)
    app.set_name(session_id, UNICODE_NAME)
    return [MadeSession("unicode", session_id, UNICODE_NAME)]


@current
def named(home: CodexHome, app: AppServer) -> Made:
    """Named twice: the last name counts."""
    session_id = talk(home, app, "named", "one")
    app.set_name(session_id, "first name")
    app.start_turn(session_id, "named: two")
    app.set_name(session_id, "second name")
    return [MadeSession("named", session_id, "second name")]


@current
def archived(home: CodexHome, app: AppServer) -> Made:
    """In the archive, with a name."""
    session_id = talk(home, app, "archived", "one", "two")
    app.set_name(session_id, "kept away")
    app.archive(session_id)
    return [MadeSession("archived", session_id, "kept away", archived=True)]


@current
def fork(home: CodexHome, app: AppServer) -> Made:
    """A fork with a turn of its own, whose parent went on afterwards."""
    parent = talk(home, app, "fork_parent", "one", "two")
    child = app.fork(parent)
    app.start_turn(child, "fork: own turn")
    app.start_turn(parent, "fork_parent: after the fork")
    return [MadeSession("fork_parent", parent), MadeSession("fork", child, needs=(parent,))]


@current
def fork_of_fork(home: CodexHome, app: AppServer) -> Made:
    """A fork of a fork; each of the three has turns after the split."""
    root = talk(home, app, "fork_root", "one")
    middle = app.fork(root)
    app.start_turn(middle, "fork_middle: own turn")
    app.start_turn(root, "fork_root: after the fork")
    leaf = app.fork(middle)
    app.start_turn(leaf, "fork_of_fork: own turn")
    app.start_turn(middle, "fork_middle: after the fork")
    return [
        MadeSession("fork_root", root),
        MadeSession("fork_middle", middle, needs=(root,)),
        MadeSession("fork_of_fork", leaf, needs=(middle, root)),
    ]


@current
def fork_no_turn(home: CodexHome, app: AppServer) -> Made:
    """A fork without a turn of its own."""
    parent = talk(home, app, "fork_no_turn_parent", "one", "two")
    child = app.fork(parent)
    return [
        MadeSession("fork_no_turn_parent", parent),
        MadeSession("fork_no_turn", child, needs=(parent,)),
    ]


@current
def fork_midway(home: CodexHome, app: AppServer) -> Made:
    """A fork of the first turn of a parent that already had three."""
    parent = talk(home, app, "fork_midway_parent", "one", "two", "three")
    first = app.turns(parent)[0]["id"]
    child = app.fork(parent, lastTurnId=first)
    app.start_turn(child, "fork_midway: own turn")
    return [
        MadeSession("fork_midway_parent", parent),
        MadeSession("fork_midway", child, needs=(parent,)),
    ]


@slow
@current
def reverted(home: CodexHome, app: AppServer) -> Made:
    """Three turns, back to before the second, then another one: two files."""
    session_id = talk(home, app, "reverted", "one", "two", "three")
    next_second()
    app.revert(session_id, app.turns(session_id)[1]["id"])
    app.start_turn(session_id, "reverted: another two")
    return [MadeSession("reverted", session_id)]


@slow
@current
def reverted_to_start(home: CodexHome, app: AppServer) -> Made:
    """Back to before its first turn, then another one."""
    session_id = talk(home, app, "reverted_to_start", "one", "two")
    next_second()
    app.revert(session_id, app.turns(session_id)[0]["id"])
    app.start_turn(session_id, "reverted_to_start: another one")
    return [MadeSession("reverted_to_start", session_id)]


@slow
@current
def reverted_twice(home: CodexHome, app: AppServer) -> Made:
    """Reverted, carried on, and reverted again: three files."""
    session_id = talk(home, app, "reverted_twice", "one", "two")
    next_second()
    app.revert(session_id, app.turns(session_id)[1]["id"])
    app.start_turn(session_id, "reverted_twice: another two")
    app.start_turn(session_id, "reverted_twice: three")
    next_second()
    app.revert(session_id, app.turns(session_id)[2]["id"])
    app.start_turn(session_id, "reverted_twice: another three")
    return [MadeSession("reverted_twice", session_id)]


@slow
@current
def fork_of_reverted(home: CodexHome, app: AppServer) -> Made:
    """A fork whose base is the second segment of its parent."""
    parent = talk(home, app, "fork_of_reverted_parent", "one", "two")
    next_second()
    app.revert(parent, app.turns(parent)[1]["id"])
    app.start_turn(parent, "fork_of_reverted_parent: another two")
    child = app.fork(parent)
    app.start_turn(child, "fork_of_reverted: own turn")
    app.start_turn(parent, "fork_of_reverted_parent: after the fork")
    return [
        MadeSession("fork_of_reverted_parent", parent),
        MadeSession("fork_of_reverted", child, needs=(parent,)),
    ]


@current
def compacted(home: CodexHome, app: AppServer) -> Made:
    """A turn, a compaction, a turn."""
    session_id = talk(home, app, "compacted", "one")
    app.compact(session_id)
    app.start_turn(session_id, "compacted: two")
    return [MadeSession("compacted", session_id)]


@current
def fork_of_compacted(home: CodexHome, app: AppServer) -> Made:
    """A fork of a compacted parent."""
    parent = talk(home, app, "fork_of_compacted_parent", "one")
    app.compact(parent)
    app.start_turn(parent, "fork_of_compacted_parent: two")
    child = app.fork(parent)
    app.start_turn(child, "fork_of_compacted: own turn")
    app.start_turn(parent, "fork_of_compacted_parent: after the fork")
    return [
        MadeSession("fork_of_compacted_parent", parent),
        MadeSession("fork_of_compacted", child, needs=(parent,)),
    ]


@current
def subagent(home: CodexHome, app: AppServer) -> Made:
    """A parent whose model spawns an agent, and that agent's session."""
    return spawn(home, app, "subagent")


@current
def subagent_forked(home: CodexHome, app: AppServer) -> Made:
    """An agent that is spawned with its parent's history."""
    return spawn(home, app, "subagent_forked", fork_context=True)


@current
def with_tools(home: CodexHome, app: AppServer) -> Made:
    """The model runs a shell command once."""
    call = function_call("exec_command", {"cmd": "echo tool-output", "login": False})
    home.server.script(call, when="with_tools: one")
    return [MadeSession("with_tools", talk(home, app, "with_tools", "one", "two"))]


@current
def other_cwd(home: CodexHome, app: AppServer) -> Made:
    """Made in another working directory."""
    return [MadeSession("other_cwd", talk(home, app, "other_cwd", "one", cwd=home.elsewhere))]


@current
def other_cwd_resumed(home: CodexHome, app: AppServer) -> Made:
    """Made in one working directory, carried on in another."""
    session_id = talk(home, app, "other_cwd_resumed", "one")
    app.start_turn(session_id, "other_cwd_resumed: two", cwd=str(home.elsewhere))
    return [MadeSession("other_cwd_resumed", session_id)]


@current
def compressed(home: CodexHome, app: AppServer) -> Made:
    """One turn; its file is to be compressed once Codex has ended."""
    return [MadeSession("compressed", talk(home, app, "compressed", "one"))]


@current
def compressed_fork(home: CodexHome, app: AppServer) -> Made:
    """A fork whose parent's file is to be compressed."""
    parent = talk(home, app, "compressed_fork_base", "one")
    child = app.fork(parent)
    app.start_turn(child, "compressed_fork: own turn")
    app.start_turn(parent, "compressed_fork_base: after the fork")
    return [
        MadeSession("compressed_fork_base", parent),
        MadeSession("compressed_fork", child, needs=(parent,)),
    ]


@current
def legacy_mode(home: CodexHome, app: AppServer) -> Made:
    """Old-mode transcripts by the current release: with a compaction, and a full-copy fork."""
    parent = app.start(home.project, historyMode="legacy")
    app.start_turn(parent, "legacy_mode: one")
    app.compact(parent)
    app.start_turn(parent, "legacy_mode: two")
    child = app.fork(parent)
    app.start_turn(child, "legacy_mode_fork: own turn")
    app.start_turn(parent, "legacy_mode: after the fork")
    return [MadeSession("legacy_mode", parent), MadeSession("legacy_mode_fork", child)]
