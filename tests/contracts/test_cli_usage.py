"""Wrong usage exits with 2 and changes nothing; help names every command."""

from __future__ import annotations

import pytest

from builders import session_id
from codex_session_sync.cli.commands import COMMANDS
from codex_session_sync.errors import ExitCode
from contracts.places import Place, checked, filled, make_place
from workbench import call, call_process, environment, tree

place = pytest.fixture(make_place)

USAGE: list[tuple[tuple[str, ...], str, str]] = [
    ((), "codex-session-sync", "usage"),
    (("--no-such-option",), "codex-session-sync", "usage"),
    (("no-such-command",), "codex-session-sync", "usage"),
    (("no-such-command", "sync"), "codex-session-sync", "usage"),
    (("inspect-package",), "inspect-package", "usage"),
    (("inspect-package", "PKG", "more"), "inspect-package", "usage"),
    (("inspect-package", "PKG", "--execute"), "inspect-package", "usage"),
    (("sync", "PKG", "--session"), "sync", "usage"),
    (("sync", "PKG", "--no-such-option"), "sync", "usage"),
    (("sync", "PKG", "--codex-bin", "/no/such/codex"), "sync", "codex_bin_missing"),
    (("sync", "PKG", "--verify"), "sync", "usage"),
    (("sync", "PKG", "--execute", "--verify", "--no-prime"), "sync", "usage"),
    (("sync", "PKG", "--session", session_id(99)), "sync", "session_unknown"),
    (("sync", "PKG", "--session", session_id(99), "--execute"), "sync", "session_unknown"),
    (("sync", "PKG", "--session", ""), "sync", "session_unknown"),
    (("sync", "PKG", "--session", "…"), "sync", "session_unknown"),
    (("inspect-package", "PKG", "--session", "019cac"), "inspect-package", "session_ambiguous"),
    (("sync", "PKG", "--limit", "files=many"), "sync", "limit_invalid"),
    (("pack",), "pack", "usage"),
    (("pack", "-o", "OUT", "--since", "soon"), "pack", "usage"),
    (("pack", "-o", "OUT"), "pack", "selection_empty"),
    (("pack", "-o", "PKG"), "pack", "output_exists"),
    (("list-transactions", "more"), "list-transactions", "usage"),
    (("show-transaction",), "show-transaction", "usage"),
    (("show-transaction", "x"), "show-transaction", "transaction_unknown"),
    (("show-transaction", ""), "show-transaction", "transaction_unknown"),
    (("recover", "--force"), "recover", "usage"),
    (("rebuild-index", "--only", "names"), "rebuild-index", "usage"),
    (("rebuild-index", "--max-threads", "-1"), "rebuild-index", "usage"),
]


@pytest.mark.parametrize(("arguments", "command", "code"), USAGE)
def test_wrong_usage(place: Place, arguments: tuple[str, ...], command: str, code: str) -> None:
    given = filled(arguments, place)
    before = tree(place.home, "session-sync/lock")
    outcome = checked(call(*given[:1], "--json", *given[1:]))
    assert (outcome.codes, outcome.exit_code) == ([code], ExitCode.USAGE)
    assert outcome.envelope["command"] == command

    outcome = call(*given)
    assert outcome.exit_code == ExitCode.USAGE
    if arguments:  # without any, the help is shown where the help belongs
        assert outcome.out == b""
    assert outcome.err
    assert "Traceback" not in outcome.err
    after = tree(place.home, "session-sync/lock")
    assert {path for path in after if path != "session-sync"} == set(before)


def test_wrong_usage_as_a_process(place: Place) -> None:
    variables = environment(place.root)
    outcome = checked(call_process(variables, "sync", "--json", "--no-such-option"))
    assert (outcome.codes, outcome.exit_code) == (["usage"], 2)
    outcome = call_process(variables, "sync", "--no-such-option")
    assert (outcome.exit_code, outcome.out) == (2, b"")
    assert "--no-such-option" in outcome.err


def test_help_names_every_command(place: Place) -> None:
    outcome = call("--help")
    assert outcome.exit_code == 0
    assert all(command.split()[0] in outcome.out.decode() for command in COMMANDS)
    for command in COMMANDS:
        shown = call(*command.split(), "--help")
        assert shown.exit_code == 0
        assert b"--json" in shown.out
        assert shown.err == ""
