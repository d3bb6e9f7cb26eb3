"""``references/package-format.md`` is what the program reads and writes."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import pytest

import package_by_spec as spec
from builders import Session, dump, write_snapshot
from codex_session_sync.errors import PackageError
from codex_session_sync.package import native_manifest
from codex_session_sync.package.native_manifest import FACTS, META, WORDS, load_manifest
from codex_session_sync.validation import fits
from fingerprint_by_spec import fingerprint
from workbench import add_rows, call, make_database

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "references" / "package-format.md"
HAVE_PAGE = ROOT / "references" / "have.md"

TINY = Session(1, name="Beans")
BEANS = Session(2, start=10, name="Beans").say("When do I sow beans?").say("And peas?")
FORK = BEANS.fork(3).say("What if it is cold?")
OLD = Session(4, legacy=True, start=30, archived=True).say("An old question")


def example() -> bytes:
    """The package of the page."""
    rollout = f"rollouts/{TINY.file_name}"
    links = fingerprint({TINY.id: TINY.data()}, TINY.id).links
    parts = {rollout: TINY.data(), f"chains/{TINY.id}": bytes.fromhex("".join(links))}
    size = len(TINY.data())
    return spec.written(parts, spec.manifest([spec.session(TINY.id, [rollout], links, size=size)]))


def shown(package: bytes) -> str:
    """A package as the page shows it."""
    manifest, parts = spec.read(package)
    rollout = next(content for name, content in parts.items() if name.startswith("rollouts/"))
    head, tail = package[: spec.HEADER_BYTES], package[-spec.TRAILER_BYTES :]
    lines = [json.dumps(rollout.decode()), json.dumps(manifest), head.hex(" "), tail.hex(" ")]
    return "".join(f"{line}\n" for line in lines)


def held(tmp_path: Path) -> str:
    """What a home tells that took the package of the page, as the page of it shows it."""
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "package").write_bytes(example())
    call("sync", tmp_path / "package", "--execute", "--no-prime", "--codex-home", home)
    done = call("have", "--codex-home", home)
    assert done.exit_code == 0, done.err
    return json.dumps(json.loads(done.out), indent=2) + "\n"


def test_what_a_home_has_is_as_its_page_says(tmp_path: Path) -> None:
    text = HAVE_PAGE.read_text(encoding="utf-8")
    [block] = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert block == held(tmp_path)
    known = fingerprint({TINY.id: TINY.data()}, TINY.id)
    [second, first] = [[count, known.links[count - 1]] for count in (2, 1)]
    digest = hashlib.sha256(b'{"archived":false}').hexdigest()
    origin = {"session_id": TINY.id, "metadata": {"unknown": digest}}
    session = {
        "session_id": TINY.id,
        "history_mode": "paginated",
        "entries": 2,
        "links": [second, first],
        "metadata": hashlib.sha256(b'{"archived":false,"name":null}').hexdigest(),
        "origins": [origin],
    }
    document = json.loads(block)
    assert fits("have", document)
    assert document == {
        "format": "codex-session-sync/have/1",
        "fingerprint_version": 2,
        "home": None,
        "lineages": [{"lineage_id": known.lineage_id, "sessions": [session]}],
    }
    # Each key has its row.
    for key in (*document, "lineage_id", "sessions", *session, *origin):
        assert f"\n| `{key}` |" in text, key


def test_the_example_is_that_of_the_page() -> None:
    [block] = re.findall(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block == shown(example())


def test_the_example_is_read(tmp_path: Path) -> None:
    package, home = tmp_path / "package", tmp_path / "home"
    package.write_bytes(example())
    home.mkdir()
    for command in (["inspect-package"], ["sync", "--execute", "--no-prime"]):
        outcome = call(*command, package, "--codex-home", home, "--json")
        assert outcome.exit_code == 0, outcome.out
        assert outcome.envelope["data"]["package"]["kind"] == "native"
        assert outcome.sessions[TINY.id]["entries"]["incoming"] == 2
    assert (home / TINY.relative_path).exists()


def test_what_pack_writes_is_as_the_page_says(tmp_path: Path) -> None:
    home = write_snapshot(tmp_path / "home", [BEANS, FORK, OLD])
    add_rows(make_database(home), [BEANS, FORK, OLD])
    out = tmp_path / "package"
    assert call("pack", "-o", out, "--archived", "--codex-home", home, "--json").exit_code == 0
    manifest, parts = spec.read(out.read_bytes())
    assert fits("native_manifest", manifest)
    files = {session.id: session.data() for session in (BEANS, FORK, OLD)}
    for session in (BEANS, FORK, OLD):
        assert parts[f"rollouts/{session.file_name}"] == session.data()
        links = fingerprint(files, session.id).links
        assert parts[f"chains/{session.id}"].hex() == "".join(links)
        [entry] = [one for one in manifest["sessions"] if one["session_id"] == session.id]
        assert (entry["entries"], entry["head"]) == (len(links), links[-1])
        assert entry["row"]["rollout_path"] == session.relative_path
        assert entry["archived"] == session.archived
    assert len(parts) == 6
    assert [one["session_id"] for one in manifest["sessions"]] == [BEANS.id, OLD.id, FORK.id]
    assert manifest["sessions"][2]["history"] == [
        f"rollouts/{BEANS.file_name}",
        f"rollouts/{FORK.file_name}",
    ]
    assert str(tmp_path).encode() not in b"".join(parts.values()) + json.dumps(manifest).encode()


@pytest.mark.parametrize("word", [*META, *FACTS, f"first {WORDS} characters"])
def test_the_page_names_what_a_session_tells(word: str) -> None:
    assert word in PAGE.read_text(encoding="utf-8")


def test_frames_of_raw_blocks_are_zstandard() -> None:
    for data in (b"", b"beans", bytes(spec.BLOCK * 2 + 1), dump(BEANS.records())):
        digest = hashlib.sha256(spec.unpacked(spec.stored(data)))
        assert digest.digest() == hashlib.sha256(data).digest()


if __name__ == "__main__":
    TEXT = PAGE.read_text(encoding="utf-8")
    BLOCK = f"```text\n{shown(example())}```"
    with tempfile.TemporaryDirectory() as made:
        HELD = f"```json\n{held(Path(made))}```"
    TEXT_OF_HAVE = HAVE_PAGE.read_text(encoding="utf-8")
    HAVE_PAGE.write_text(re.sub(r"```json\n.*?```", lambda _: HELD, TEXT_OF_HAVE, flags=re.DOTALL))
    PAGE.write_text(re.sub(r"```text\n.*?```", lambda _: BLOCK, TEXT, flags=re.DOTALL))


def told(document: Any) -> Any:
    """A manifest as it was read, its rows as dicts."""
    sessions = [
        {**one, "row": dict(one["row"]) if one["row"] else None} for one in document["sessions"]
    ]
    return {**document, "sessions": sessions}


def test_a_manifest_is_read_alike_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of its sessions at a time where it is as this program writes it, else as a whole."""
    home, out = write_snapshot(tmp_path / "home", [TINY, BEANS, FORK, OLD]), tmp_path / "out"
    add_rows(make_database(home), [BEANS, FORK])
    assert call("pack", "-o", out, "--codex-home", home).exit_code == 0
    plain, _ = spec.read(out.read_bytes())
    first, second, *others = plain["sessions"]
    # Texts and lists with what stands between sessions.
    second = {**second, "name": '}],"sessions":[{"archived":1},{"archived":'}
    plain["sessions"] = [first, second, *others]
    tricky = {**first, "facts": {**first["facts"], "more": [{"archived": 1}, {"archived": 2}]}}
    tricky = {**plain, "sessions": [tricky, second, *others]}
    text = orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)
    texts = [
        text,
        orjson.dumps(tricky, option=orjson.OPT_SORT_KEYS),
        orjson.dumps(dict(reversed(plain.items()))),
        orjson.dumps(plain, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2),
        orjson.dumps({**plain, "sessions": []}, option=orjson.OPT_SORT_KEYS),
    ]
    for size, step in product((1, 1 << 20), (7, 1 << 20)):
        monkeypatch.setattr(native_manifest, "_GROUP_BYTES", size)
        asked = [asked_for(written, step) for written in texts]
        # A list with what stands between sessions is taken for them where it is cut.
        assert asked == [1, 2 if (size, step) == (1, 7) else 1, 2, 2, 2]
        for broken in (text[:-1], text[:-2], text[:-40], text + b"]}", text.replace(b"meta", b"m")):
            with pytest.raises(PackageError) as caught:
                asked_for(broken, step)
            assert caught.value.code == "native_manifest_invalid"


def asked_for(text: bytes, step: int) -> int:
    """How often a manifest is asked for, which is read for what it says."""
    pieces = [text[start : start + step] for start in range(0, len(text), step)]
    asked = []

    def told_in_pieces() -> list[bytes]:
        asked.append(text)
        return pieces

    assert told(load_manifest(told_in_pieces)) == orjson.loads(text)
    return len(asked)
