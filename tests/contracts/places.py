"""Homes and packages to try the command line on, and outcomes held against the schema."""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import jsonschema
import pytest

from builders import Session, dump, write_snapshot, write_transfer
from workbench import SCRIPTS, Outcome, call, environment

SCHEMA = json.loads(
    (SCRIPTS / "codex_session_sync" / "schemas" / "envelope.schema.json").read_bytes()
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

PLAIN = Session(1, start=10).say("How do I prune roses?")
NAMED = Session(2, start=20, name="Compost").say("What goes on the heap?").say("And eggshells?")
ARCHIVED = Session(3, start=30, archived=True).say("An old question")
SOME = (PLAIN, NAMED, ARCHIVED)


@dataclass
class Place:
    """A home, a package, and the folder that holds both."""

    root: Path
    home: Path = field(init=False)
    package: Path = field(init=False)

    def __post_init__(self) -> None:
        self.home = self.root / "home"
        self.package = self.root / "package"

    def sync(self, *more: str | Path) -> Outcome:
        """``sync`` of the package as JSON, checked against the schema."""
        return checked(call("sync", self.package, "--json", *more))

    def fill(self) -> None:
        """Bring all of the package in."""
        assert self.sync("--execute").exit_code == 0

    def interrupt(self) -> None:
        """Bring all in, by a transaction that did not end."""
        self.fill()
        for path in self.home.glob("session-sync/transactions/*/manifest.json"):
            manifest = json.loads(path.read_bytes())
            path.write_text(json.dumps({**manifest, "status": "running", "completed_at": None}))

    def drop_package(self) -> None:
        """Nothing is where the package was."""
        shutil.rmtree(self.package)


def make_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty home and a package of three sessions; no Codex, no other home in reach."""
    found = Place(tmp_path)
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("CODEX_SESSION_SYNC_STORE", raising=False)
    monkeypatch.chdir(Path.cwd())
    found.home.mkdir()
    write_transfer(found.package, SOME)
    return found


def checked(outcome: Outcome) -> Outcome:
    """The outcome, its stdout being one object that fits the schema and agrees with the process."""
    VALIDATOR.validate(outcome.envelope)
    assert outcome.envelope["exit_code"] == outcome.exit_code
    assert outcome.err.strip() == ""
    for error in outcome.envelope["errors"]:
        words = "AGAIN|PKG" if "count" in error else "AGAIN|PKG|ID"
        assert not re.search(rf"`codex-session-sync [^`]*\b({words})\b", error.get("hint", ""))
    return outcome


def only_transaction(place: Place) -> str:
    """The id of the one sync that the home has had."""
    found = call("list-transactions", "--json").envelope["data"]["transactions"]
    [first] = [one for one in found if one["kind"] == "sync"]
    return str(first["transaction_id"])


def filled(arguments: tuple[str, ...], place: Place) -> list[str]:
    """Arguments with what stands for a path or an id put in, and made if need be."""
    known = {"PKG": str(place.package), "OUT": str(place.root / "out"), "HOME": str(place.home)}
    known["HAVE"] = str(place.root / "have.json")
    if "IMPORT" in arguments:
        told = call("events", "report", "--json").envelope["data"]["imports"]
        known["IMPORT"] = told[0]["import_id"]
    if "EVENT" in arguments:
        found = call("events", "search", "roses", "--json").envelope["data"]["events"]
        known["EVENT"] = found[0]["event_id"]
    if "INBOX" in arguments:
        known["INBOX"] = str(place.root / "inbox")
        shutil.copytree(place.package, place.root / "inbox" / "package")
    if "TRANSACTION" in arguments:
        known["TRANSACTION"] = only_transaction(place)
    return [known.get(argument, argument) for argument in arguments]


def tar_gz(folder: Path) -> bytes:
    """An archive of a folder."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        archive.add(folder, arcname="package")
    return data.getvalue()


CONTRACT_KEYS = {
    "session_id",
    "local_session_id",
    "classification",
    "relation",
    "action",
    "reason",
    "entries",
}
NEW = Session(10, start=100).say("New")
EQUAL = Session(11, start=110).say("Known").say("here")
LOCAL_AHEAD = Session(12, start=120).say("Carried on here")
INCOMING_AHEAD = Session(13, start=130).say("Carried on there")
SPLIT = Session(14, start=140).say("Before the split")
COLLIDING = Session(15, start=150).say("One thing")
BROKEN = Session(16, start=160).say("Lost")
BASELESS = Session(18, start=180).say("Not packaged").fork(17).say("A fork without its base")
FILELESS = Session(19, start=190).say("Not packaged either")
TORN = Session(20, start=200).say("Whole").say("and cut off")
FORK = NEW.fork(21).say("A fork with its base")
UNREADABLE_HERE = Session(22, start=220).say("Readable there")


def make_mixture(place: Place) -> Place:
    """A package with a session of every class, and some that cannot be imported."""
    place.drop_package()
    there = [
        NEW,
        EQUAL,
        LOCAL_AHEAD,
        INCOMING_AHEAD.say("more").say("and more"),
        SPLIT.say("that way"),
        COLLIDING,
        BROKEN,
        BASELESS,
        FILELESS,
        TORN,
        FORK,
        UNREADABLE_HERE,
    ]
    here = [
        EQUAL,
        LOCAL_AHEAD.say("more"),
        INCOMING_AHEAD,
        SPLIT.say("this way").say("and on"),
        Session(15, start=151).say("Another thing"),
        UNREADABLE_HERE,
    ]
    write_transfer(place.package, there)
    sessions = place.package / "sessions"
    (sessions / BROKEN.file_name).write_bytes(b"\x00\x01 no record\n" * 20)
    (sessions / FILELESS.file_name).unlink()
    data = TORN.data()
    (sessions / TORN.file_name).write_bytes(data[: -len(dump(TORN.records()[-1:])) // 2])
    write_snapshot(place.home, here)
    (place.home / UNREADABLE_HERE.relative_path).write_bytes(b"no record\n")
    return place
