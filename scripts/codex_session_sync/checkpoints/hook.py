"""The post-commit hook: a block of our own in a shell script, other content kept to the byte."""

from __future__ import annotations

import re
import shlex
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..durable import write_atomic
from ..errors import HomeError, UsageError, hint_on
from .repository import Repository

NAME = "post-commit"
BEGIN = "# >>> codex-session-sync checkpoint >>>"
END = "# <<< codex-session-sync checkpoint <<<"
LOG_BYTES = 1_000_000
"""A longer log becomes the older one, of which there is one."""

_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "mksh"})
_FIRST = "#!/bin/sh\n"
_BLOCK = re.compile(rf"^{re.escape(BEGIN)}\n.*?^{re.escape(END)}\n", re.DOTALL | re.MULTILINE)

_TEXT = """\
{begin}
# Written by `codex-session-sync checkpoint install-hook`; `remove-hook` takes it out again.
(
  for css_file in {files}; do [ -e "$css_file" ] || exit 0; done
  css_sha=$(git rev-parse --verify --quiet HEAD) || exit 0
  css_top=$(git rev-parse --show-toplevel) || css_top=$(pwd)
  (
    trap '' HUP
    for css_name in $(env | sed -n 's/^\\(GIT_[A-Z0-9_]*\\)=.*/\\1/p'); do
      unset "$css_name"
    done
    css_log=/dev/null
    if [ -d {logs} ]; then css_log={log}; fi
    if [ -f "$css_log" ] && [ "$(wc -c <"$css_log")" -gt {limit} ]; then
      mv -f "$css_log" "$css_log.1"
    fi
    {{
      echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $css_top $css_sha"
      {command} --repo "$css_top" --commit "$css_sha"
    }} >>"$css_log" 2>&1
  ) &
) </dev/null >/dev/null 2>&1
{end}
"""


@dataclass(frozen=True, slots=True)
class Program:
    """How this program is started: words, files by whole paths, and what the environment needs."""

    words: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hook:
    """A hook and what is in it: ``text`` None without one, ``block`` where ours is."""

    path: Path
    text: str | None
    block: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """What was done to a hook: ``installed``, ``updated``, ``removed`` or ``unchanged``.

    ``kept``: whether it has more than our block.
    """

    path: Path
    result: str
    kept: bool


def block(program: Program, arguments: Sequence[str], logs: Path) -> str:
    """Our block: it calls the program in the background, and does nothing where that is gone.

    ``arguments`` are those of the call, but for the repository and the commit.
    """
    variables = [f"{name}={shlex.quote(value)}" for name, value in program.variables.items()]
    return _TEXT.format(
        begin=BEGIN,
        end=END,
        files=shlex.join(word for word in program.words if Path(word).is_absolute()),
        command=" ".join([*variables, shlex.join([*program.words, *arguments])]),
        logs=shlex.quote(str(logs)),
        log=shlex.quote(str(logs / "checkpoint.log")),
        limit=LOG_BYTES,
    )


def install(repository: Repository, wanted: str) -> Change:
    """Put the block into the repository's hook, right behind its first line.

    Raises UsageError ``hook_foreign``, HomeError ``hook_not_writable``.
    """
    hook = _read(repository)
    if hook.block == wanted:
        return Change(hook.path, "unchanged", _has_more(hook))
    text = hook.text if hook.text is not None else _FIRST
    if hook.block is not None:
        text = text.replace(hook.block, wanted)
    else:
        first, _, rest = text.partition("\n")
        text = f"{first}\n{wanted}{rest}"
    _write(hook.path, text)
    result = "updated" if hook.block is not None else "installed"
    return Change(hook.path, result, _has_more(Hook(hook.path, text, wanted)))


def remove(repository: Repository) -> Change:
    """Take the block out of the repository's hook; a hook that had nothing else goes.

    Raises as ``install`` does.
    """
    hook = _read(repository, removing=True)
    if hook.text is None or hook.block is None:
        return Change(hook.path, "unchanged", hook.text is not None)
    left = hook.text.replace(hook.block, "")
    if left == _FIRST:
        try:
            hook.path.unlink()
        except OSError as error:
            raise _not_writable(hook.path, error) from error
        return Change(hook.path, "removed", kept=False)
    _write(hook.path, left)
    return Change(hook.path, "removed", kept=True)


def _read(repository: Repository, *, removing: bool = False) -> Hook:
    path = repository.hooks() / NAME
    if path.is_symlink():
        raise _foreign(path, "it is a link")
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return Hook(path, None, None)
    except OSError as error:
        raise _foreign(path, error.strerror or str(error)) from error
    found = _BLOCK.findall(text)
    if len(found) > 1 or text.count(BEGIN) + text.count(END) != 2 * len(found):
        raise _foreign(path, "the marks of our block in it are not whole")
    if not removing:
        _require_shell(path, text)
    return Hook(path, text, found[0] if found else None)


def _require_shell(path: Path, text: str) -> None:
    """Raise UsageError ``hook_foreign`` where a block for a shell would not run, or do harm."""
    first = text.partition("\n")[0]
    words = first.removeprefix("#!").split() if first.startswith("#!") else []
    if words and words[0].rsplit("/", 1)[-1] == "env":
        words = [word for word in words[1:] if not word.startswith("-")]
    if not words or words[0].rsplit("/", 1)[-1] not in _SHELLS or first.endswith("\r"):
        raise _foreign(path, "it is no shell script")
    if not path.stat().st_mode & stat.S_IXUSR:
        raise _foreign(path, "it is not executable, so git does not run it")


def _has_more(hook: Hook) -> bool:
    return (hook.text or "").replace(hook.block or "", "") != _FIRST


def _write(path: Path, text: str) -> None:
    new = not path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text.encode("utf-8", "surrogateescape"))
        if new:
            path.chmod(0o755)
    except OSError as error:
        raise _not_writable(path, error) from error


def _foreign(path: Path, why: str) -> UsageError:
    return UsageError(
        "hook_foreign",
        f"the hook {path} is left alone: {why}",
        hint="have it call `codex-session-sync checkpoint capture`, in the background and with "
        "--repo and --commit, yourself; or move it away",
    )


def _not_writable(path: Path, error: OSError) -> HomeError:
    return HomeError(
        "hook_not_writable",
        f"{path} cannot be written: {error.strerror or error}",
        hint=hint_on(error, "mend its owner and permissions, then run `codex-session-sync AGAIN`"),
    )
