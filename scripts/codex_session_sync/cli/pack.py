"""``pack``: sessions of the home as a package for another one."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from ..errors import ExitCode, UsageError
from ..model import Json
from ..package.encryption import read_recipients
from ..packing.gathering import gather
from ..packing.known import load_known
from ..packing.native import Packed
from ..packing.output import require_free
from ..packing.pack import Format, Manner, Outcome, pack
from ..packing.selection import Filters, Selection, select
from ..report.envelope import Problem, Report
from ..report.progress import byte_progress
from . import secrets_told
from .options import common, completing, home_of, moment, sessions_option

COMMAND = "pack"


@click.command(COMMAND)
@click.option(
    "-o",
    "out",
    metavar="OUT",
    required=True,
    type=click.Path(path_type=Path),
    help="The package to write; nothing may be there yet.",
)
@sessions_option("Only this session; repeatable.")
@click.option(
    "--cwd",
    "cwds",
    multiple=True,
    metavar="DIR",
    shell_complete=completing("folders"),
    help="Only sessions in this directory or below it; repeatable.",
)
@click.option("--since", metavar="TIME", callback=moment, help="Only sessions active since then.")
@click.option("--archived", is_flag=True, help="Archived sessions as well.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["native", "transfer-v1"]),
    default="native",
    show_default=True,
    help="The kind of package; transfer-v1 becomes a folder or an archive by OUT's suffix.",
)
@click.option(
    "--allow-secrets",
    is_flag=True,
    help="Pack also what is certainly a secret: a token, a key, a password.",
)
@click.option(
    "--recipient",
    "recipients",
    multiple=True,
    metavar="KEY",
    help="Encrypt with age to this public key, age1... or ssh-ed25519 ...; repeatable.",
)
@click.option(
    "--have",
    "have",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="What the other side has, as its `have` wrote it: only what it lacks is packed.",
)
@common
def command(
    out: Path,
    sessions: tuple[str, ...],
    cwds: tuple[str, ...],
    since: datetime | None,
    archived: bool,
    form: Format,
    allow_secrets: bool,
    recipients: tuple[str, ...],
    have: Path | None,
    codex_home: str | None,
    as_json: bool,
) -> Report:
    """Write sessions of this home to a package that another home can sync. The home is only read.

    A fork brings the sessions that it continues, a subagent the one that spawned it. Tokens,
    private keys and the like are looked for in all of it; where there are some, nothing is
    written unless --allow-secrets is given.
    With --have only a home that has the rest can take the package.

    Writes OUT and nothing else.

    \b
    Examples:
      codex-session-sync pack -o everything.csync --archived
      codex-session-sync pack -o garden.csync --cwd ~/garden --since 2026-03-01
      codex-session-sync pack -o garden.tar.zst --format transfer-v1
      codex-session-sync pack -o garden.csync.age --recipient age1...
      codex-session-sync pack -o news.csync --have have.json

    \b
    Next:
      codex-session-sync inspect-package OUT  what the other side will see
    """
    del as_json
    if have is not None and form != "native":
        raise UsageError(
            "have_needs_native",
            f"a package of the format {form} is always whole",
            hint="`codex-session-sync AGAIN --format native`, or leave --have out",
        )
    home = home_of(codex_home)
    require_free(out, home)
    keys = read_recipients(recipients) if recipients else []
    known = load_known(have) if have is not None else None
    found = gather(home)
    selection = select(found, Filters(sessions, cwds, since, archived))
    secrets, unseen = secrets_told.scan_for(may_lack=allow_secrets)
    # Every file is read to be understood and again to be copied.
    files = (found.sessions[i].file for i in selection.ids)
    total = 2 * sum(file.size for file in files if file)
    with byte_progress("packing", total) as progress:
        manner = Manner(form, keys, allow_secrets, known)
        outcome = pack(found, selection, out, manner, secrets, progress)
    failed = tuple(Problem(e.code, e.message, e.hint, e.session_id) for e in outcome.failed)
    data = _data(outcome, selection)
    notices = (*found.notices, *unseen, *secrets_told.suspected(outcome.secrets))
    if outcome.stopped:
        stopped = secrets_told.stopped(outcome.secrets)
        return Report(COMMAND, "error", data, ExitCode.USAGE, notices, (*stopped, *failed))
    return Report(
        COMMAND,
        "partial" if failed else "ok" if outcome.package else "no_op",
        data,
        ExitCode.PARTIAL if failed else ExitCode.OK,
        (*notices, *secrets_told.allowed(outcome.secrets)),
        failed,
    )


def _data(outcome: Outcome, selection: Selection) -> Json:
    secrets: dict[str, list[Json]] = {}
    for secret in outcome.secrets:
        secrets.setdefault(secret.session_id, []).append(secret.to_json())
    return {
        "package": outcome.package,
        "sessions": [
            _session(one, selection) | {"secrets": secrets.get(one.session_id, [])}
            for one in outcome.sessions
        ],
        "known": outcome.known,
    }


def _session(packed: Packed, selection: Selection) -> Json:
    return {
        "session_id": packed.session_id,
        "chosen": packed.session_id in selection.chosen,
        "name": packed.name,
        "title": packed.title,
        "archived": packed.archived,
        "entries": packed.entries,
        "turns": packed.turns,
        "updated_at": packed.last_timestamp,
        "bytes": packed.size,
        "base_entries": packed.base.entries if packed.base else 0,
    }
