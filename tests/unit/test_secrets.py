"""What ``pack`` finds of secrets in all that it packs, what it tells of them, and when it stops."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zstandard

from builders import Session, dump, write_snapshot
from codex_session_sync.packing import detector as detector_module
from codex_session_sync.packing import secrets as module
from codex_session_sync.packing.detector import Detector
from codex_session_sync.packing.secrets import SecretScan, text_of
from secret_samples import samples
from workbench import Outcome, add_rows, call, insert, make_database, tree

SECRETS, HARMLESS = samples()
KIND, TOKEN = SECRETS["GitHub"]
DOUBTFUL = "mysql://root:" + "hunter" + "22@localhost:3306/beds"
ALSO = {"aws_access_token": {("aws_secret_key", True)}}
"""What samples of a kind hold beside."""

FORMATS = ("native", "transfer-v1")


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector()


def test_prepared_rules_are_kept_with_the_library(tmp_path: Path) -> None:
    """Also where the program borrows an environment whose Python does not run it."""
    library = tmp_path / "env" / "lib" / "python3" / "site-packages" / "sdk" / "__init__.py"
    assert detector_module.rule_cache(library) is None
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "pyvenv.cfg").touch()
    kept = tmp_path / "env" / "share" / "codex-session-sync" / "rules"
    assert detector_module.rule_cache(library) == kept


def told(detector: Detector, text: str) -> set[tuple[str, bool]]:
    return {(match.kind, match.certain) for match in detector.matches(text.encode())}


def pack(home: Path, out: Path, *options: str, json_output: bool = True) -> Outcome:
    more = ("--json",) if json_output else ()
    return call("pack", "-o", out, *options, "--codex-home", home, *more)


def secrets(outcome: Outcome, session: Session) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = outcome.sessions[session.id]["secrets"]
    return found


# What is a secret


@pytest.mark.parametrize(("kind", "text"), SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("around", ["{}", "Use {} for it.", "a\n{}\nb", '{{"token": "{}"}}'])
def test_a_secret(detector: Detector, kind: str, text: str, around: str) -> None:
    if around.startswith("{{") and ('"' in text or "\n" in text):
        around = "`{}`"
    assert told(detector, around.format(text)) == {(kind, True), *ALSO.get(kind, ())}


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS)
@pytest.mark.parametrize("around", ["{}", "Here it is: {}", '{{"key": "{}"}}'])
def test_no_secret(detector: Detector, text: str, around: str) -> None:
    assert detector.matches(around.format(text).encode()) == []


@pytest.mark.parametrize(
    ("url", "certain"),
    [
        ("postgres://alice:kT5vVq8wZz@db.garden.org/beds", True),
        ("redis://:kT5vVq8wZz@81.2.69.142:6379/0", True),
        (DOUBTFUL, False),
        ("postgres://alice:kT5vVq8wZz@db:5432/beds", False),
        ("postgres://alice:kT5vVq8wZz@127.0.0.1/beds", False),
        ("postgres://alice:kT5vVq8wZz@192.168.0.7/beds", False),
        ("postgres://alice:short@db.garden.org/beds", False),
        ("postgres://postgres:postgres@db.garden.org/beds", False),
    ],
)
def test_a_password_in_an_address(detector: Detector, url: str, certain: bool) -> None:
    found = detector.matches(f"DATABASE_URL={url} ./serve".encode())
    assert [(m.kind, m.certain) for m in found] in (
        [("generic_credential_uri", certain)],
        [] if not certain else None,
    )


def test_one_secret_is_told_once_and_in_order(detector: Detector) -> None:
    routable = "glp" + "at-" + TOKEN[4:31] + ".01." + "0a1b2c3d4"
    text = f"{routable} {SECRETS['Stripe'][1]} {TOKEN} {TOKEN}".encode()
    found = [match.kind for match in detector.matches(text)]
    assert found[1:] == ["stripe_access_token", KIND, KIND]
    assert found[0].startswith("gitlab_pat")


def test_other_samples_are_told_alike(detector: Detector) -> None:
    """No single sample happens to look like something else."""
    for seed in range(20):
        wrong, harmless = samples(seed)
        missed = [
            name
            for name, (kind, text) in wrong.items()
            if told(detector, text) != {(kind, True), *ALSO.get(kind, ())}
        ]
        assert missed == [], seed
        assert [n for n, text in harmless.items() if detector.matches(text.encode())] == [], seed


# What is read


def test_texts_are_read_as_a_person_reads_them() -> None:
    inner = json.dumps(
        {"command": ["bash", "-lc", "echo\nx"], "env": {"TOKEN": "yyyyy", "N": "short"[:4]}}
    )
    value = {
        "type": "response_item",
        "payload": {
            "arguments": inner,
            "encrypted_content": "gAAAA",
            "content": [{"text": "a\tbcde"}, {"image_url": "data:image/png;base64,AAAA"}],
            "broken": "{no json",
        },
    }
    lines = text_of(value).decode().splitlines()
    assert lines == [
        "response_item",
        "command: echo",
        "x",
        "TOKEN: yyyyy",
        "a\tbcde",
        "{no json",
    ]


def test_deep_json_ends_nothing(detector: Detector) -> None:
    deep = "[" * 900 + json.dumps(TOKEN) + "]" * 900
    text = TOKEN
    for _ in range(6):
        text = json.dumps({"again": text})
    for line in (deep, text):
        assert [m.kind for m in detector.matches(text_of(json.loads(line)))] == [KIND]


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_pieces_of_any_size(detector: Detector, size: int) -> None:
    one = Session(1).say("Hello").say(f"My token is {TOKEN}").say(SECRETS["RSA key"][1])
    data = one.data() + f"no record {TOKEN}".encode()
    scan = SecretScan(detector)
    pieces = (data[i : i + size] for i in range(0, len(data), size))
    assert b"".join(scan.watch(one.id, one.file_name, pieces)) == data
    lines = data.splitlines()
    expected = [
        (kind, number, line.startswith(b"no record"))
        for number, line in enumerate(lines, 1)
        for kind, sign in ((KIND, TOKEN.encode()), ("private_key", b"PRIVATE KEY"))
        if sign in line
    ]
    found = scan.found()
    assert len(found) >= 3
    assert [(s.kind, s.place.line, s.place.record is None) for s in found] == expected
    assert {s.place.turn for s in found if s.kind == "private_key"} <= {2, 3}


def test_what_is_not_in_the_package_does_not_count(detector: Detector) -> None:
    scan = SecretScan(detector)
    data = Session(1).say(TOKEN).data()
    for _ in scan.watch("one", "rollouts/one", [data]):
        pass
    for _ in scan.watch("two", "rollouts/two", [data]):
        break  # whoever packs it gives up
    assert {secret.session_id for secret in scan.found()} == {"one"}
    scan.forget(["rollouts/one"])
    assert scan.found() == ()


def test_a_line_without_end(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_RECORD", 1 << 20)
    monkeypatch.setattr(module, "_OVERLAP", 1 << 10)
    scan = SecretScan(detector)
    filling = b"word " * 100_000
    pieces = [b"\n", *[filling] * 3, TOKEN.encode() + b" ", *[filling] * 3, b"\nend"]
    assert b"".join(scan.watch("one", "file", pieces)) == b"".join(pieces)
    assert {(s.kind, s.place.line) for s in scan.found()} == {(KIND, 2)}


# What pack does


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_is_written(tmp_path: Path, form: str) -> None:
    bad = Session(1).say("Hello").say("What is this?", f"It is {TOKEN}, and {TOKEN}.")
    good = Session(2, start=10).say("Hello")
    home = write_snapshot(tmp_path / "home", [bad, good])
    before = tree(home)
    for out in ("package", "package.tar.zst"):
        outcome = pack(home, tmp_path / out, "--format", form)
        assert (outcome.exit_code, outcome.codes) == (2, ["secrets_found"])
        assert outcome.envelope["errors"][0]["session_id"] == bad.id
        assert outcome.envelope["data"]["package"] is None
        found = secrets(outcome, bad)
        assert {(s["kind"], s["confidence"], s["count"]) for s in found} == {(KIND, "high", 2)}
        assert {s["file"] for s in found} == {bad.file_name}
        lines = bad.data().splitlines()
        assert [s["line"] for s in found] == [
            number for number, line in enumerate(lines, 1) if TOKEN.encode() in line
        ]
        assert {s["turn"] for s in found} == {2}
        assert {s["record"] for s in found} >= {"response_item/message"}
        assert secrets(outcome, good) == []
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert tree(home) == before
    alone = pack(home, tmp_path / "package", "--format", form, "--session", good.id)
    assert (alone.exit_code, alone.envelope["warnings"]) == (0, [])


@pytest.mark.parametrize("form", FORMATS)
def test_allowed(tmp_path: Path, form: str) -> None:
    home = write_snapshot(tmp_path / "home", [Session(1).say(TOKEN)])
    outcome = pack(home, tmp_path / "package", "--format", form, "--allow-secrets")
    assert outcome.exit_code == 0
    [warning] = outcome.envelope["warnings"]
    assert (warning["code"], warning["session_id"]) == ("secrets_packed", Session(1).id)
    assert secrets(outcome, Session(1))
    assert (tmp_path / "package").exists()


def test_what_may_be_one_is_told_and_packed(tmp_path: Path) -> None:
    home = write_snapshot(tmp_path / "home", [Session(1).say(f"Use {DOUBTFUL} here")])
    outcome = pack(home, tmp_path / "package")
    assert outcome.exit_code == 0
    assert [warning["code"] for warning in outcome.envelope["warnings"]] == ["secrets_suspected"]
    assert {s["confidence"] for s in secrets(outcome, Session(1))} == {"low"}


@pytest.mark.parametrize("form", FORMATS)
def test_everything_that_goes_in_is_looked_at(tmp_path: Path, form: str) -> None:
    session = Session(1, name=f"the one with {TOKEN}").say("Hello")
    home = write_snapshot(tmp_path / "home", [session])
    plain = home / session.relative_path
    output = {"type": "function_call_output", "call_id": "c", "output": SECRETS["RSA key"][1]}
    nested = {"type": "function_call", "arguments": json.dumps({"x": SECRETS["JWT"][1]})}
    lines = [{"type": "response_item", "payload": payload} for payload in (output, nested)]
    records = [
        {"timestamp": "2026-03-02T09:00:30.000Z", "ordinal": 90 + n, **line}
        for n, line in enumerate(lines)
    ]
    data = plain.read_bytes() + dump(records)
    plain.with_name(plain.name + ".zst").write_bytes(zstandard.compress(data))
    plain.unlink()
    database = make_database(home)
    add_rows(database, [session])
    tool = dict.fromkeys(("description", "input_schema"), SECRETS["Stripe"][1])
    tool |= {"thread_id": session.id, "name": "hoe"}
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE threads SET git_origin_url = ?", (SECRETS["web"][1],))
        insert(connection, "thread_dynamic_tools", {"position": 0, **tool})
    outcome = pack(home, tmp_path / "package", "--format", form)
    assert outcome.codes == ["secrets_found"]
    found = {(s["kind"], s["in"], s["record"]) for s in secrets(outcome, session)}
    assert found >= {
        ("private_key", "record", "response_item/function_call_output"),
        ("jwt", "record", "response_item/function_call"),
        (KIND, "name", None),
        ("generic_credential_uri", "row", None),
        ("stripe_access_token", "dynamic_tool", None),
    }


def test_a_shared_file_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = Session(1).say(f"It is {TOKEN}")
    home = write_snapshot(tmp_path / "home", [parent, parent.fork(2).say("a"), parent.fork(3)])
    looked = []
    real = Detector.matches

    def counted(self: Detector, text: bytes) -> Any:
        looked.append(TOKEN.encode() in text)
        return real(self, text)

    monkeypatch.setattr(Detector, "matches", counted)
    outcome = pack(home, tmp_path / "package")
    assert sum(looked) == sum(TOKEN.encode() in line for line in parent.data().splitlines())
    told = {i: bool(one["secrets"]) for i, one in outcome.sessions.items()}
    assert told == {parent.id: True, parent.fork(2).id: False, parent.fork(3).id: False}


def test_no_value_is_told_anywhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a value nor a part of it: in JSON and text, of stops and warnings."""
    monkeypatch.setenv("COLUMNS", "200")
    session = Session(1, name="Keys").say("Hello")
    for _, text in SECRETS.values():
        session = session.say("Look", f"It is {text} and {DOUBTFUL}")
    home = write_snapshot(tmp_path / "home", [session])
    values = [text for _, text in SECRETS.values()]
    pieces = {text[i : i + 12] for text in values for i in range(len(text) - 12)}
    spoken = {"-----BEGIN ", "PRIVATE KEY", "https://", "telegram", "garden"}
    for options in ((), ("--allow-secrets",)):
        for as_json in (True, False):
            out = tmp_path / "package"
            outcome = pack(home, out, *options, json_output=as_json)
            said = outcome.out.decode() + outcome.err + "".join(capfd.readouterr())
            assert "private_key" in said
            told = [p for p in pieces if p in said and not any(word in p for word in spoken)]
            assert told == []
            out.unlink(missing_ok=True)


def test_where_prepared_rules_are_kept(tmp_path: Path) -> None:
    """In the environment of the library: the launcher's Python is not that of its environment."""
    place = tmp_path / ".venv" / "cpython"
    library = place / "lib" / "python3" / "site-packages" / "kingfisher_sdk" / "__init__.py"
    assert detector_module.rule_cache(library) is None
    place.mkdir(parents=True)
    (place / "pyvenv.cfg").touch()
    kept = detector_module.rule_cache(library)
    assert kept == place / "share" / "codex-session-sync" / "rules"


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector_module._scanner.cache_clear()
    monkeypatch.setitem(sys.modules, "kingfisher_sdk", None)
    home = write_snapshot(tmp_path / "home", [Session(1).say(TOKEN)])
    outcome = pack(home, tmp_path / "package")
    assert (outcome.exit_code, outcome.codes) == (4, ["secret_scan_unavailable"])
    assert not (tmp_path / "package").exists()
    outcome = pack(home, tmp_path / "package", "--allow-secrets")
    assert outcome.exit_code == 0
    assert [w["code"] for w in outcome.envelope["warnings"]] == ["secret_scan_unavailable"]
