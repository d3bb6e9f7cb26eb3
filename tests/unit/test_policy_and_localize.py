"""What an import takes away, what it rewrites, and what it leaves as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import pytest

from builders import Session, dump, session_id
from codex_session_sync.codex.home import CodexHome
from codex_session_sync.compose import compose
from codex_session_sync.errors import HomeError, SessionError
from codex_session_sync.model import EditKind, Transcript
from codex_session_sync.policy import Policy, local_policy
from codex_session_sync.roots import Roots
from rollouts import composed, file_name, parsed, put, read, rewriter

OWN, OTHER = session_id(2), session_id(9)
HERE, THERE = "/home/alice/garden", "/elsewhere"

Record = dict[str, Any]
Rule = Callable[[Policy, Record, set[str]], Record]


NOTHING = {"type": "token_count", "info": None, "rate_limits": None}
"""What takes the place of a head that is left out."""


def apply(rule: Rule, payload: Record, policy: Policy | None = None) -> tuple[Record, set[str]]:
    """The payload after a rule, and what the rule says it removed; the payload stays as it was."""
    removed: set[str] = set()
    before = json.dumps(payload)
    found = rule(policy or Policy("untrusted"), payload, removed)
    assert json.dumps(payload) == before
    return found, removed


# --- session_meta -------------------------------------------------------------------------------


def test_capability_roots_are_removed() -> None:
    meta = {"id": OWN, "selected_capability_roots": [{"location": "file:///evil"}]}
    assert apply(Policy.meta, meta) == ({"id": OWN}, {"selected_capability_roots"})
    assert apply(Policy.meta, {"selected_capability_roots": []}) == ({}, set())


@pytest.mark.parametrize(
    ("roots", "told"),
    [
        (["/"], True),
        ([THERE], True),
        ([HERE, "/"], True),
        ("/", True),
        ([HERE], False),
        ([], False),
    ],
)
def test_workspace_roots_become_the_directory(roots: object, told: bool) -> None:
    found, removed = apply(Policy.meta, {"cwd": HERE, "runtime_workspace_roots": roots})
    assert found == {"cwd": HERE, "runtime_workspace_roots": [HERE]}
    assert removed == ({"runtime_workspace_roots"} if told else set())


def test_workspace_roots_without_a_directory() -> None:
    found, removed = apply(Policy.meta, {"runtime_workspace_roots": ["/"]})
    assert found == {"runtime_workspace_roots": []}
    assert removed == {"runtime_workspace_roots"}


def test_a_directory_that_holds_everything_is_no_root() -> None:
    for meta in ({"cwd": "/"}, {"cwd": "/", "runtime_workspace_roots": ["/"]}):
        found, removed = apply(Policy.meta, meta)
        assert found == {"cwd": "/", "runtime_workspace_roots": []}
        assert removed == {"runtime_workspace_roots"}
    trusted = Policy("untrusted", roots=Roots(trusted=frozenset([PurePath("/")])))
    assert apply(Policy.meta, {"cwd": "/"}, trusted) == ({"cwd": "/"}, set())


SPEAKING = {
    "base_instructions": {"text": "You help."},
    "dynamic_tools": [{"name": "t"}],
    "git": {"branch": "main"},
    "source": "cli",
}


def test_what_only_speaks_is_kept() -> None:
    assert apply(Policy.meta, SPEAKING) == (SPEAKING, set())


# --- turn_context -------------------------------------------------------------------------------


def test_turn_context_gets_the_local_approval() -> None:
    context = {
        "cwd": HERE,
        "approval_policy": "never",
        "approvals_reviewer": "auto",
        "active_permission_profile": {"id": ":danger-full-access"},
        "model": "m",
    }
    expected = {
        "cwd": HERE,
        "approval_policy": "untrusted",
        "approvals_reviewer": "user",
        "model": "m",
    }
    removed = {"approval_policy", "approvals_reviewer", "active_permission_profile"}
    assert apply(Policy.turn_context, context) == (expected, removed)


def test_plugins_stay_on() -> None:
    context = {"cwd": HERE, "disabled_plugin_ids": ["guard@here"]}
    expected = {"cwd": HERE, "disabled_plugin_ids": []}
    assert apply(Policy.turn_context, context) == (expected, {"disabled_plugin_ids"})
    assert apply(Policy.turn_context, expected) == (expected, set())
    applied = {"type": "thread_settings_applied", "thread_settings": context}
    found, removed = apply(Policy.settings, applied)
    assert (found["thread_settings"], removed) == ({"cwd": HERE}, {"disabled_plugin_ids"})


def test_turn_context_that_is_as_here_stays() -> None:
    context = {"approval_policy": "untrusted", "approvals_reviewer": "user", "summary": "auto"}
    assert apply(Policy.turn_context, context) == (context, set())
    assert apply(Policy.turn_context, {"cwd": HERE}) == ({"cwd": HERE}, set())


GRANULAR = {"granular": {"sandbox_approval": True}}


def test_granular_approval_is_written_as_a_table() -> None:
    policy = Policy(json.dumps(GRANULAR), granular=GRANULAR)
    found, removed = apply(Policy.turn_context, {"approval_policy": "never"}, policy)
    assert (found, removed) == ({"approval_policy": GRANULAR}, {"approval_policy"})
    assert apply(Policy.turn_context, found, policy) == (found, set())


@pytest.mark.parametrize(
    ("cwd", "expected"),
    [("/p", "untrusted"), ("/p/q/r", "untrusted"), ("/pq", "on-request"), ("/", "on-request")],
)
def test_approval_below_an_untrusted_project(cwd: str, expected: str) -> None:
    policy = Policy(untrusted=frozenset([PurePath("/p"), PurePath("/other")]))
    context = {"cwd": cwd, "approval_policy": "never"}
    found, removed = apply(Policy.turn_context, context, policy)
    assert (found["approval_policy"], removed) == (expected, {"approval_policy"})
    event = settings_event(cwd=cwd, approval_policy=expected)
    assert apply(Policy.settings, event, policy)[1] == set()
    assert apply(Policy.turn_context, {"approval_policy": "never"}, policy)[0] == {
        "approval_policy": "on-request"
    }


# --- settings -----------------------------------------------------------------------------------

ACTING = {
    "approval_policy": "never",
    "approvals_reviewer": "auto",
    "requested_approvals_reviewer": "auto",
    "permission_profile": {"type": "disabled"},
    "active_permission_profile": {"id": ":danger-full-access"},
    "sandbox_policy": {"type": "danger-full-access"},
    "runtime_workspace_roots": ["/"],
}


def settings_event(**more: Any) -> Record:
    return {
        "type": "thread_settings_applied",
        "thread_id": OWN,
        "thread_settings": {"cwd": HERE, "model": "m"} | more,
    }


READING = {
    "type": "managed",
    "file_system": {"type": "restricted", "entries": [{"path": "/", "access": "read"}]},
    "network": "restricted",
}


@pytest.mark.parametrize(
    "more",
    [
        {"type": "disabled"},
        {"network": "enabled"},
        {"file_system": {"type": "unrestricted"}},
        {"file_system": {"type": "restricted", "entries": [{"access": "write"}]}},
        {"file_system": {"type": "restricted", "entries": ["write"]}},
    ],
)
def test_profile_that_permits_more_than_reading_is_told(more: Record) -> None:
    event = settings_event(permission_profile={**READING, **more})
    assert apply(Policy.settings, event) == (settings_event(), {"permission_profile"})


def test_settings_lose_what_acts() -> None:
    found, removed = apply(Policy.settings, settings_event(**ACTING))
    assert found == settings_event()
    assert removed == {
        "approval_policy",
        "approvals_reviewer",
        "permission_profile",
        "active_permission_profile",
        "runtime_workspace_roots",
    }


@pytest.mark.parametrize("key", list(ACTING))
def test_each_setting_that_acts_is_taken_alone(key: str) -> None:
    found, _ = apply(Policy.settings, settings_event(**{key: ACTING[key]}))
    assert found == settings_event()


def test_settings_that_are_as_here_are_not_told() -> None:
    same = {
        "approval_policy": "untrusted",
        "approvals_reviewer": "user",
        "active_permission_profile": None,
        "permission_profile": READING,
        "runtime_workspace_roots": [HERE],
    }
    assert apply(Policy.settings, settings_event(**same)) == (settings_event(), set())


@pytest.mark.parametrize("settings", [None, [], "x"])
def test_settings_of_another_shape_stay(settings: object) -> None:
    event = {"type": "thread_settings_applied", "thread_settings": settings}
    assert apply(Policy.settings, event) == (event, set())


@pytest.mark.parametrize(
    ("rule", "payload"),
    [
        (Policy.meta, {"selected_capability_roots": [1], "runtime_workspace_roots": ["/"]}),
        (Policy.turn_context, ACTING),
        (Policy.settings, settings_event(**ACTING)),
    ],
)
def test_trusted_package_is_kept_whole(rule: Rule, payload: Record) -> None:
    assert apply(rule, payload, Policy("untrusted", trusted=True)) == (payload, set())


# --- the local policy ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, "on-request"),
        ("", "on-request"),
        ('approval_policy = "never"', "never"),
        ("approval_policy = 7", "on-request"),
        ('approval_policy = "never"\nprofile = "p"\n[profiles.p]\nmodel = "m"', "never"),
        (
            'approval_policy = "never"\nprofile = "p"\n[profiles.p]\napproval_policy = "untrusted"',
            "untrusted",
        ),
        (
            'approval_policy = "never"\nprofile = "q"\n[profiles.p]\napproval_policy = "untrusted"',
            "never",
        ),
        ('approval_policy = "never"\n[profiles.p]\napproval_policy = "untrusted"', "never"),
        ('profile = "p"\nprofiles = "none"', "on-request"),
        ('approval_policy = "never"\nprofile = ["p"]\n[profiles.p]', "never"),
    ],
)
def test_local_policy_is_the_configured_one(
    tmp_path: Path, config: str | None, expected: str
) -> None:
    if config is not None:
        (tmp_path / "config.toml").write_text(config)
    home = CodexHome(tmp_path, tmp_path)
    found = local_policy(home, trusted=False)
    assert found == Policy(expected, trusted=False, roots=found.roots)
    assert found.roots.codex_home == tmp_path
    assert local_policy(home, trusted=True).trusted


def test_local_policy_that_is_a_table(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[approval_policy.granular]\nsandbox_approval = true")
    policy = local_policy(CodexHome(tmp_path, tmp_path), trusted=False)
    assert json.loads(policy.approval_policy) == policy.granular == GRANULAR


def test_untrusted_projects_count_where_nothing_is_configured(tmp_path: Path) -> None:
    projects = """
        [projects."/p"]
        trust_level = "untrusted"
        [projects."/q"]
        trust_level = "trusted"
        """
    home = CodexHome(tmp_path, tmp_path)
    (tmp_path / "config.toml").write_text(projects)
    found = local_policy(home, trusted=False)
    assert (found.approval_policy, found.untrusted) == ("on-request", frozenset([PurePath("/p")]))
    assert found.roots.trusted == {PurePath("/q")}
    (tmp_path / "config.toml").write_text('approval_policy = "never"\n' + projects)
    found = local_policy(home, trusted=False)
    assert (found.approval_policy, found.untrusted) == ("never", frozenset())
    (tmp_path / "config.toml").write_text('projects = "none"')
    found = local_policy(home, trusted=False)
    assert (found.approval_policy, found.untrusted) == ("on-request", frozenset())
    assert found.roots.trusted == frozenset()


def test_local_policy_of_a_broken_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("= nonsense")
    with pytest.raises(HomeError) as caught:
        local_policy(CodexHome(tmp_path, tmp_path), trusted=False)
    assert caught.value.code == "config_invalid"


# --- what is rewritten --------------------------------------------------------------------------


def record(kind: str, payload: Record, ordinal: int | None = None) -> Record:
    made: Record = {"timestamp": "2026-03-02T09:00:00Z", "type": kind, "payload": payload}
    return made if ordinal is None else {**made, "ordinal": ordinal}


def scanned(folder: Path, records: list[Record]) -> Transcript:
    """A paginated session of these records."""
    meta = {"id": OWN, "cwd": HERE, "history_mode": "paginated"}
    data = dump([record("session_meta", meta, 0), *records])
    return read([put(folder, file_name(OWN), data)], OWN)


def forked(folder: Path, inherited: list[Record], own: list[Record]) -> Transcript:
    """A fork of a session; both have these records."""
    parent, fork = Session(1), Session(1).fork(2)
    base = [*parent.records()[:1], *inherited]
    head, *rest = fork.records()
    end = {"end_ordinal_exclusive": 1 + len(inherited), "end_byte_offset": len(dump(base))}
    head["payload"]["history_base"] |= end
    files = [
        put(folder, parent.file_name, dump(base)),
        put(folder, fork.file_name, dump([head, *rest, *own])),
    ]
    return read(files, fork.id)


UNTOUCHED = [
    record("response_item", {"role": "user", "thread_id": session_id(1), "cwd": THERE}, 1),
    record("world_state", {"state": {"cwd": THERE}}, 2),
    record("event_msg", {"type": "token_count", "info": None}, 3),
    record("compacted", {"message": "m", "replacement_history": [{"thread_id": OTHER}]}, 4),
    record("of a later release", {"approval_policy": "never"}, 5),
]


def test_what_the_model_saw_is_copied_byte_for_byte(tmp_path: Path) -> None:
    transcript = scanned(tmp_path, UNTOUCHED)
    lines = composed(transcript).splitlines(keepends=True)
    original = transcript.slices[0].slice.file.path.read_bytes().splitlines(keepends=True)
    assert lines[1:] == original[1:]
    assert list(transcript.slices[0].edits) == [0, len(original[0]), EditKind.DROP]


def test_directory_of_the_head_is_the_latest(tmp_path: Path) -> None:
    moved = [record("turn_context", {"cwd": HERE}, 1), record("turn_context", {"cwd": THERE}, 2)]
    head, *rest = parsed(composed(scanned(tmp_path, moved)))
    assert head["payload"]["cwd"] == THERE
    assert [r["payload"]["cwd"] for r in rest] == [HERE, THERE]


def test_policy_is_applied_to_every_record_that_sets_something(tmp_path: Path) -> None:
    transcript = scanned(
        tmp_path,
        [
            record("turn_context", {"approval_policy": "never"}, 1),
            record("event_msg", settings_event(**ACTING), 2),
            record("session_meta", {"id": OTHER, "selected_capability_roots": [1]}, 3),
        ],
    )
    rewriting = rewriter(transcript, Policy("untrusted"))
    target = tmp_path / "composed"
    with target.open("wb") as stream:
        compose(rewriting, stream)
    _, context, settings, meta = parsed(target.read_bytes())
    assert context["payload"] == {"approval_policy": "untrusted"}
    assert settings["payload"] == settings_event()
    assert meta["payload"] == {"id": OTHER}
    assert [r["ordinal"] for r in (context, settings, meta)] == [1, 2, 3]
    assert rewriting.removed >= {"approval_policy", "selected_capability_roots"}


def test_missing_ordinals_are_given_after_the_last(tmp_path: Path) -> None:
    records = [
        record("response_item", {"n": 1}),
        record("response_item", {"n": 2}, 7),
        record("event_msg", {"type": "x"}),
    ]
    found = parsed(composed(scanned(tmp_path, records)))
    assert [r["ordinal"] for r in found] == [0, 8, 7, 9]


def test_last_line_is_ended(tmp_path: Path) -> None:
    session = Session(1).say("hello")
    transcript = read([put(tmp_path, session.file_name, session.data()[:-1])], session.id)
    assert transcript.facts.torn is False
    assert parsed(composed(transcript))[1:] == session.records()[1:]
    assert composed(transcript).endswith(b"\n")


def test_last_line_of_an_inherited_history_is_ended(tmp_path: Path) -> None:
    parent, fork = Session(1).say("hello"), Session(1).say("hello").fork(2).say("own")
    files = [
        put(tmp_path, parent.file_name, parent.data()[:-1]),
        put(tmp_path, fork.file_name, fork.data()),
    ]
    flat = parsed(composed(read(files, fork.id)))
    assert len(flat) == len(parent.records()) + len(fork.records())
    assert [r["ordinal"] for r in flat] == list(range(len(flat)))


def test_legacy_session_gets_no_ordinals(tmp_path: Path) -> None:
    session = Session(1, legacy=True).say("hello")
    transcript = read([put(tmp_path, session.file_name, session.data())], session.id)
    assert [r for r in parsed(composed(transcript)) if "ordinal" in r] == []


def test_self_contained_head_names_no_base(tmp_path: Path) -> None:
    head = parsed(composed(forked(tmp_path, [], [])))[0]
    assert head["ordinal"] == 0
    assert head["payload"]["forked_from_id"] == session_id(1)
    assert not {"history_base", "forked_from_ordinal_exclusive"} & head["payload"].keys()


def test_inherited_records_name_the_session_they_now_belong_to(tmp_path: Path) -> None:
    parent = session_id(1)
    nested = {"type": "x", "thread_id": parent, "list": [{"session_id": parent}, {"id": parent}]}
    foreign = {"type": "x", "thread_id": OTHER, "note": parent}
    found = parsed(
        composed(
            forked(
                tmp_path,
                [record("event_msg", nested, 1), record("event_msg", foreign, 2)],
                [record("event_msg", nested, 9)],
            )
        )
    )
    assert [r["payload"] for r in found[1:]] == [
        {"type": "x", "thread_id": OWN, "list": [{"session_id": OWN}, {"id": parent}]},
        foreign,
        NOTHING,
        nested,
    ]


def test_inherited_entries_keep_what_the_model_saw(tmp_path: Path) -> None:
    parent = session_id(1)
    item = record("response_item", {"role": "user", "thread_id": parent}, 1)
    history = {"message": parent, "replacement_history": [{"thread_id": parent}]}
    compaction = record("compacted", {**history, "latest": {"thread_id": parent}}, 2)
    transcript = forked(tmp_path, [item, compaction], [])
    found = parsed(composed(transcript))
    compacted = record("compacted", {**history, "latest": {"thread_id": OWN}}, 2)
    assert found[1:3] == [item, compacted]
    assert [r["payload"] for r in found[3:]] == [NOTHING]


def test_copied_heads_of_ancestors_are_dropped(tmp_path: Path) -> None:
    copied = record("session_meta", {"id": OTHER}, 1)
    assert len(parsed(composed(forked(tmp_path, [copied], [])))) == 2
    own = parsed(composed(forked(tmp_path, [], [copied])))
    assert [r["payload"].get("id", r["payload"]) for r in own] == [OWN, NOTHING, OTHER]


@pytest.mark.parametrize("change", [b"", b"x" * 5000, None])
def test_file_that_changed_after_the_scan_is_refused(tmp_path: Path, change: bytes | None) -> None:
    session = Session(1).say("hello")
    file = put(tmp_path, session.file_name, session.data())
    transcript = read([file], session.id)
    composed(transcript)
    data = file.path.read_bytes()
    head, rest = data.split(b"\n", 1)
    rest = rest.replace(b"hello", b"hallo") if change is None else change
    file.path.write_bytes(head + b"\n" + rest)
    with pytest.raises(SessionError) as caught:
        composed(transcript)
    assert (caught.value.code, caught.value.session_id) == ("package_changed", session.id)


def test_records_appended_after_the_scan_are_left_for_the_next_sync(tmp_path: Path) -> None:
    session = Session(1).say("hello")
    file = put(tmp_path, session.file_name, session.data())
    transcript = read([file], session.id)
    before = composed(transcript)
    file.path.write_bytes(session.say("more").data())
    assert composed(transcript) == before
