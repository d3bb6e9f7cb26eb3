"""The manifest of a checkpoint: a commit, and the sessions that a home held then, as TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import tomli_w

from .. import validation
from ..errors import StoreError
from ..model import Json

FORMAT = "codex-session-sync/checkpoint/1"
SCHEMA = "store_checkpoint"

Relation = Literal["worktree", "repository", "commit"]
"""Why a session is one of the repository's: it works in the working tree that the commit was made
in, in another one of the repository or a repository within it, or it began at a commit that led to
this one."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The repository and the commit; ``key`` tells the repository on every machine."""

    key: str
    name: str
    sha: str
    at: str
    message: str
    branch: str | None = None
    remote: str | None = None
    worktree: str | None = None

    @property
    def subject(self) -> str:
        """The first line of the message."""
        return self.message.partition("\n")[0]


@dataclass(frozen=True, slots=True)
class Taken:
    """A session of a checkpoint, with hints for people.

    ``entries_before`` are those of them that it had at the nearest commit before that has a
    checkpoint of the same home, ``head`` is the link of the last one; ``packed``: whether the
    checkpoint's package has something of it.
    """

    session_id: str
    entries: int
    entries_before: int
    packed: bool
    turns: int
    related: Relation | None = None
    archived: bool = False
    name: str | None = None
    title: str | None = None
    last_words: str | None = None
    last_answer: str | None = None
    cwd: str | None = None
    commit: str | None = None
    last_at: str | None = None
    head: str | None = None

    @property
    def went_on(self) -> bool:
        """Whether something was said in it since the checkpoint before."""
        return self.entries != self.entries_before


@dataclass(frozen=True, slots=True)
class Manifest:
    """A checkpoint.

    ``home`` is the ``installation_id`` of the home, ``listing`` the digest of what it held, of
    ``listed`` sessions; ``package`` that of what was packed, None where nothing had changed;
    ``before``: the commit whose checkpoint ``entries_before`` are of. ``sessions`` are those of the
    repository and those that were packed.
    """

    captured_at: str
    program: str
    home: str | None
    listing: str
    listed: int
    package: str | None
    package_bytes: int
    before: str | None
    origin: Origin
    sessions: tuple[Taken, ...]

    @property
    def related(self) -> tuple[Taken, ...]:
        """The sessions of the repository."""
        return tuple(one for one in self.sessions if one.related)


def encoded(manifest: Manifest) -> bytes:
    """A manifest as its document."""
    origin = asdict(manifest.origin)
    repository = {key: origin.pop(key) for key in ("key", "name", "remote", "worktree")}
    document = {
        "format": FORMAT,
        "captured_at": manifest.captured_at,
        "program": manifest.program,
        "repository": _known(repository),
        "commit": _known(origin),
        "home": _known({"installation_id": manifest.home}),
        "content": _known(
            {
                "listing": manifest.listing,
                "sessions": manifest.listed,
                "package": manifest.package,
                "package_bytes": manifest.package_bytes,
                "before": manifest.before,
            }
        ),
        "sessions": [_known(asdict(one)) for one in manifest.sessions],
    }
    return tomli_w.dumps(document, multiline_strings=False).encode()


def decoded(data: bytes, what: str) -> Manifest:
    """A manifest from its document, which ``what`` names.

    Raises StoreError ``store_checkpoint_invalid``.
    """
    try:
        document = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StoreError(
            "store_checkpoint_invalid",
            f"{what} is not TOML: {error}",
            hint="restore it from a backup of the store; nothing was changed",
        ) from error
    validation.check(SCHEMA, document, what, StoreError)
    content, repository, commit = (document[k] for k in ("content", "repository", "commit"))
    sessions = {one["session_id"]: Taken(**_of(Taken, one)) for one in document["sessions"]}
    return Manifest(
        document["captured_at"],
        document["program"],
        document["home"].get("installation_id"),
        content["listing"],
        content["sessions"],
        content.get("package"),
        content["package_bytes"],
        content.get("before"),
        Origin(**_of(Origin, repository | commit)),
        tuple(sessions.values()),
    )


def in_order(sessions: Sequence[Taken]) -> tuple[Taken, ...]:
    """Those of the repository first, of these those in which something was said, the last first."""
    ranks: dict[Relation | None, int] = {"worktree": 0, "repository": 1, "commit": 2, None: 3}
    newest = sorted(sessions, key=lambda one: (one.last_at or "", one.session_id), reverse=True)
    return tuple(
        sorted(newest, key=lambda one: (one.related is None, not one.went_on, ranks[one.related]))
    )


def _known(values: Json) -> Json:
    """What is known; TOML has nothing for what is not."""
    return {key: value for key, value in values.items() if value is not None and value is not False}


def _of(kind: Any, values: Json) -> Json:
    """The values that a kind of ours has; those of a later release are passed over."""
    found = {key: value for key, value in values.items() if key in kind.__dataclass_fields__}
    return {"packed": False, **found} if kind is Taken else found
