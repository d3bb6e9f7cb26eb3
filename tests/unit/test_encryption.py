"""Packages encrypted with age: made by ``pack``, opened by every command that reads a package."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pyrage
import pytest
from pyrage import x25519

from builders import Session, write_snapshot
from workbench import Outcome, call, tree

BEANS = Session(1, name="Beans").say("When do I sow beans?").say("And peas?")
FORK = BEANS.fork(2).say("What if it is cold?")
FORMS = {
    "package.age": "native",
    "package.tar.age": "transfer-v1",
    "package.tar.gz.age": "transfer-v1",
    "package.tar.zst.age": "transfer-v1",
    "package.zip": "transfer-v1",
}


class Keys:
    """Identity files in a folder, and their public keys."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.alice, self.bob = x25519.Identity.generate(), x25519.Identity.generate()
        self.recipients = [str(self.alice.to_public()), str(self.bob.to_public())]
        comment = "# created: 2026-03-02T09:00:00Z\n# public key: age1...\n\n"
        self.alice_file = self.file("alice", f"{comment}{self.alice}\n")
        self.bob_file = self.file("bob", f"{self.bob}")

    def file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def ssh(self, password: str = "", kind: str = "ed25519") -> Path:
        path = self.folder / f"id_{kind}{'_locked' if password else ''}"
        options = ["-q", "-t", kind, "-N", password, "-C", "alice@garden", "-f", str(path)]
        subprocess.run(["ssh-keygen", *options], check=True)
        return path


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return write_snapshot(tmp_path / "home", [BEANS, FORK])


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home; what is unpacked meanwhile goes to a folder that is empty afterwards."""
    (tmp_path / "new").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return tmp_path / "new"


def pack(home: Path, out: Path, *options: str) -> Outcome:
    return call("pack", "-o", out, *options, "--codex-home", home, "--json")


def look(home: Path, package: Path, *identities: Path) -> Outcome:
    options = [word for path in identities for word in ("--identity", str(path))]
    found = call("inspect-package", package, *options, "--codex-home", home, "--json")
    assert list((home.parent / "tmp").iterdir()) == []
    return found


# There and back


@pytest.mark.parametrize(("name", "form"), FORMS.items())
def test_there_and_back(
    home: Path, new: Path, keys: Keys, tmp_path: Path, name: str, form: str
) -> None:
    out = tmp_path / name
    options = [word for key in keys.recipients for word in ("--recipient", key)]
    outcome = pack(home, out, "--format", form, *options)
    assert outcome.exit_code == 0, outcome.out
    assert outcome.envelope["data"]["package"]["encrypted"]
    assert b"beans" not in out.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ("home", "keys", "new", "tmp", name)
    )
    looked = look(new, out, keys.bob_file)
    assert (looked.exit_code, set(looked.sessions)) == (0, {BEANS.id, FORK.id})
    assert looked.envelope["data"]["package"]["source"] == str(out)
    arguments: list[str | Path] = [out, "--identity", keys.alice_file]
    arguments += ["--codex-home", new, "--json"]
    done = call("sync", *arguments, "--execute", "--no-prime")
    assert {one["result"] for one in done.sessions.values()} == {"imported"}
    assert call("sync", *arguments).envelope["status"] == "no_op"
    assert call("adopt", *arguments).exit_code == 0
    assert list((tmp_path / "tmp").iterdir()) == []
    texts = b"".join(p.read_bytes() for p in new.rglob("*") if p.is_file())
    assert str(keys.alice).encode() not in texts
    assert str(tmp_path / "tmp").encode() not in texts


def test_what_is_encrypted_is_the_package(home: Path, keys: Keys, tmp_path: Path) -> None:
    plain, out = tmp_path / "plain", tmp_path / "package.age"
    assert pack(home, plain).exit_code == 0
    assert pack(home, out, "--recipient", keys.recipients[0]).exit_code == 0
    assert pyrage.decrypt(out.read_bytes(), [keys.alice]) == plain.read_bytes()


@pytest.mark.skipif(shutil.which("age") is None, reason="needs the age tool")
def test_the_age_tool_reads_it_and_is_read(
    home: Path, new: Path, keys: Keys, tmp_path: Path
) -> None:
    plain, out, theirs = tmp_path / "plain", tmp_path / "package.age", tmp_path / "theirs"
    assert pack(home, plain).exit_code == 0
    assert pack(home, out, "--recipient", keys.recipients[0]).exit_code == 0
    command = ["age", "-d", "-i", str(keys.alice_file), str(out)]
    assert subprocess.run(command, capture_output=True, check=True).stdout == plain.read_bytes()
    for armor in ([], ["-a"]):
        command = ["age", *armor, "-r", keys.recipients[0], "-o", str(theirs), str(plain)]
        subprocess.run(command, check=True)
        assert look(new, theirs, keys.alice_file).exit_code == 0


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs OpenSSH")
@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_keys_of_ssh(home: Path, new: Path, keys: Keys, tmp_path: Path, kind: str) -> None:
    path, out = keys.ssh(kind=kind), tmp_path / "package.age"
    public = path.with_suffix(".pub").read_text()
    assert pack(home, out, "--recipient", public).exit_code == 0
    assert look(new, out, path).exit_code == 0
    assert look(new, out, keys.alice_file, path).exit_code == 0
    locked = keys.ssh("password")
    outcome = look(new, out, locked)
    assert (outcome.exit_code, outcome.codes) == (2, ["identity_invalid"])
    assert "passphrase" in outcome.envelope["errors"][0]["message"]


def test_armor(home: Path, new: Path, keys: Keys, tmp_path: Path) -> None:
    plain, out = tmp_path / "plain", tmp_path / "package.age"
    assert pack(home, plain).exit_code == 0
    data = pyrage.encrypt(plain.read_bytes(), [keys.alice.to_public()], armored=True)
    for text in (data, data.replace(b"\n", b"\r\n")):
        out.write_bytes(text)
        assert look(new, out, keys.alice_file).exit_code == 0
    out.write_bytes(data[: len(data) // 2])
    assert look(new, out, keys.alice_file).codes == ["package_damaged"]
    out.write_bytes(data[:60] + b"?" + data[61:])
    assert look(new, out, keys.alice_file).codes == ["package_damaged"]


# What is refused


@pytest.fixture
def package(home: Path, keys: Keys, tmp_path: Path) -> Path:
    """A package for Alice of more than one chunk."""
    noise = random.Random(1).randbytes(150_000).hex()
    talk = Session(3, start=100).say(" ".join(noise[i : i + 40] for i in range(0, 300_000, 40)))
    write_snapshot(home, [talk])
    out = tmp_path / "package.age"
    assert pack(home, out, "--recipient", keys.recipients[0]).exit_code == 0
    assert out.stat().st_size > 2 * 65536
    return out


def test_without_the_key(new: Path, package: Path, keys: Keys) -> None:
    outcome = look(new, package)
    assert (outcome.exit_code, outcome.codes) == (3, ["package_encrypted"])
    assert "--identity" in outcome.envelope["errors"][0]["hint"]
    outcome = look(new, package, keys.bob_file)
    assert (outcome.exit_code, outcome.codes) == (3, ["identity_does_not_fit"])
    assert list(tree(new)) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing but a comment\n",
        "garbage",
        "AGE-SECRET-KEY-1QQQQ",
        "AGE-PLUGIN-YUBIKEY-1QQQQ",
        "age-encryption.org/v1\n-> scrypt x\n",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        "\xff\xfe",
        "x" * (1 << 20) + "y",
    ],
)
def test_an_identity_that_is_none(new: Path, package: Path, keys: Keys, text: str) -> None:
    marked = text.replace("QQQQ", "QSECRETQ").replace("garbage", "gSECRETe")
    outcome = look(new, package, keys.file("bad", marked))
    assert (outcome.exit_code, outcome.codes) == (2, ["identity_invalid"])
    assert "SECRET" not in outcome.out.decode() + outcome.err


def test_an_identity_that_is_not_there(new: Path, package: Path, keys: Keys) -> None:
    for path in (keys.folder / "missing", keys.folder):
        assert look(new, package, path).codes == ["identity_invalid"]


def test_the_identity_is_told_nowhere(new: Path, package: Path, keys: Keys) -> None:
    both = keys.file("both", f"{keys.alice}\nnonsense {keys.bob}\n")
    outcome = look(new, package, both)
    assert outcome.codes == ["identity_invalid"]
    assert "AGE-SECRET" not in outcome.out.decode() + outcome.err
    outcome = pack(new.parent / "home", new.parent / "out", "--recipient", str(keys.alice))
    assert (outcome.exit_code, outcome.codes) == (2, ["recipient_invalid"])
    assert str(keys.alice)[15:30] not in outcome.out.decode() + outcome.err


@pytest.mark.parametrize("text", ["", "age1xxx", "ssh-ed25519 AAAA", "ssh-dss AAAA", "alice"])
def test_a_recipient_that_is_none(home: Path, tmp_path: Path, text: str) -> None:
    outcome = pack(home, tmp_path / "package", "--recipient", text)
    assert (outcome.exit_code, outcome.codes) == (2, ["recipient_invalid"])
    assert not (tmp_path / "package").exists()


def test_a_folder_cannot_be_encrypted(home: Path, keys: Keys, tmp_path: Path) -> None:
    options = ("--format", "transfer-v1", "--recipient", keys.recipients[0])
    outcome = pack(home, tmp_path / "package", *options)
    assert (outcome.exit_code, outcome.codes) == (2, ["folder_not_encrypted"])
    assert not (tmp_path / "package").exists()


def test_secrets_stop_it_all_the_same(keys: Keys, tmp_path: Path) -> None:
    token = "glp" + "at-" + "kT5vVq8wZzaB3dE7fG1h"
    home = write_snapshot(tmp_path / "home", [BEANS.say(token)])
    out = tmp_path / "package.age"
    outcome = pack(home, out, "--recipient", keys.recipients[0])
    assert (outcome.exit_code, outcome.codes) == (2, ["secrets_found"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "keys"]
    assert pack(home, out, "--recipient", keys.recipients[0], "--allow-secrets").exit_code == 0


def test_a_passphrase(new: Path, keys: Keys, tmp_path: Path) -> None:
    path = tmp_path / "package.age"
    stanza = b"-> scrypt bBjlhJVYZeE4aqUdmtRHfw 18\n" + b"A" * 43
    path.write_bytes(
        b"age-encryption.org/v1\n" + stanza + b"\n--- " + b"A" * 43 + b"\n" + bytes(99)
    )
    for identities in ((), (keys.alice_file,)):
        outcome = look(new, path, *identities)
        assert outcome.codes == ["package_encrypted"]
        assert "passphrase" in outcome.envelope["errors"][0]["message"]


def test_cut_off_anywhere(new: Path, package: Path, keys: Keys) -> None:
    data = package.read_bytes()
    header = data.index(b"\n---")
    mac = data.index(b"\n", header + 1)
    places = {35, header - 1, header + 1, header + 10, mac, mac + 1, mac + 8, mac + 17, mac + 18}
    places |= {mac + 17 + n * 65552 + more for n in (1, 2) for more in (-17, -1, 0, 1, 16, 17)}
    places |= {len(data) - 17, len(data) - 1}
    for place in sorted(places):
        package.write_bytes(data[:place])
        outcome = look(new, package, keys.alice_file)
        assert (outcome.exit_code, outcome.codes) == (3, ["package_damaged"]), place
    package.write_bytes(data + b"x")
    assert look(new, package, keys.alice_file).codes == ["package_damaged"]


def test_a_bit_flipped_anywhere(new: Path, package: Path, keys: Keys) -> None:
    data = package.read_bytes()
    start = data.index(b"\n---")
    allowed = ("package_damaged", "identity_does_not_fit")
    chosen = random.Random(2)
    places = [*range(34, start + 60, 5), *(chosen.randrange(start, len(data)) for _ in range(30))]
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1 << chosen.randrange(8)
        package.write_bytes(changed)
        outcome = look(new, package, keys.alice_file)
        assert outcome.exit_code == 3, place
        assert set(outcome.codes) <= set(allowed if place <= start else allowed[:1]), place
    package.write_bytes(data)
    assert look(new, package, keys.alice_file).exit_code == 0


@pytest.mark.parametrize(
    "text",
    [
        b"-> X25519 AAAA\nAAAA\n" * 200_000,
        b"-> X25519 " + b"A" * 5_000_000,
        b"-> " + b"\xff" * 5_000_000 + b"\n---",
        b"--- AAAA\n",
        b"",
    ],
)
def test_a_header_without_end(new: Path, keys: Keys, tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "package.age"
    path.write_bytes(b"age-encryption.org/v1\n" + text)
    outcome = look(new, path, keys.alice_file)
    assert (outcome.exit_code, outcome.codes) == (3, ["package_damaged"])


def test_the_longest_header_takes_no_time(new: Path, keys: Keys, tmp_path: Path) -> None:
    """Many recipients that are not us, as many as a header may have."""
    stanza = b"-> X25519 " + b"A" * 43 + b"\n" + b"A" * 43 + b"\n"
    path = tmp_path / "package.age"
    end = b"--- " + b"A" * 43 + b"\n" + bytes(100)
    path.write_bytes(b"age-encryption.org/v1\n" + stanza * (65_000 // len(stanza)) + end)
    assert set(look(new, path, keys.alice_file).codes) <= {
        "package_damaged",
        "identity_does_not_fit",
    }


def test_what_is_inside_is_judged_as_any_package(new: Path, keys: Keys, tmp_path: Path) -> None:
    path = tmp_path / "package.age"
    public = [keys.alice.to_public()]
    for inside, code in (
        (pyrage.encrypt(b"x", public), "package_unknown_format"),
        (b"garbage", "package_unknown_format"),
        (b"", "package_empty"),
    ):
        path.write_bytes(pyrage.encrypt(inside, public))
        outcome = look(new, path, keys.alice_file)
        assert (outcome.exit_code, outcome.codes) == (3, [code])


def test_limits(new: Path, package: Path, keys: Keys) -> None:
    for limit in ("total_bytes=64K", "file_bytes=1K"):
        options = ("--limit", limit, "--identity", keys.alice_file, "--codex-home", new, "--json")
        outcome = call("inspect-package", package, *options)
        assert (outcome.exit_code, outcome.codes) == (3, ["package_unsafe"])


def test_a_temporary_folder_that_is_full(new: Path, package: Path, keys: Keys) -> None:
    """The system refuses a file over this size as it refuses one on a full disk."""
    script = (
        "import resource, signal, sys; from codex_session_sync.cli.main import run;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); sys.exit(run(sys.argv[1:]))"
    )
    scripts = Path(__file__).parents[2] / "scripts"
    words = ["inspect-package", package, "--identity", keys.alice_file, "--codex-home", new]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, words), "--json"],
        env={
            "PYTHONPATH": str(scripts),
            "TMPDIR": str(new.parent / "tmp"),
            "PATH": os.environ["PATH"],
        },
        capture_output=True,
        check=False,
    )
    [error] = json.loads(done.stdout)["errors"]
    assert (done.returncode, error["code"]) == (3, "package_not_staged")
    assert list((new.parent / "tmp").iterdir()) == []


def test_without_the_library(
    new: Path, package: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyrage", None)
    outcome = look(new, package, keys.alice_file)
    assert (outcome.exit_code, outcome.codes) == (2, ["encryption_unavailable"])
    assert look(new, package).codes == ["package_encrypted"]
    out = new.parent / "out"
    outcome = pack(new.parent / "home", out, "--recipient", keys.recipients[0])
    assert (outcome.exit_code, outcome.codes) == (2, ["encryption_unavailable"])
