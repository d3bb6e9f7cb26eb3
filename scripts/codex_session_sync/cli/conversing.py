"""What the commands of the import service share: how they import, and how they begin and end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, BinaryIO

import click

from ..codex.client import find_codex
from ..durable import not_writable, temporary_folder
from ..places.rules import Rules
from ..service.importing import Manner
from ..service.limits import DEFAULT_SERVICE_LIMITS
from ..service.serving import Service
from ..service.speaking import UnheardError
from ..service.state import FOLDER, ServiceState, open_state
from ..verdict import Choices, Collision, Diverged
from .options import Decorated, choice_options, common, completing, execute_option, home_of
from .placing import placing_options


def importing_options(name: str) -> Callable[[Decorated], Decorated]:
    """How the command of this name brings requests in: what ``serve`` and ``ingest`` share.

    It is passed on as ``manner``, a function that gives it and raises HomeError, UsageError.
    """

    def decorate(function: Decorated) -> Decorated:
        @wraps(function)
        def gathered(
            *arguments: Any,
            given: Rules,
            on_diverged: Diverged,
            on_collision: Collision,
            below: tuple[Path, ...],
            codex_bin: str | None,
            no_prime: bool,
            do_it: bool,
            codex_home: str | None,
            **options: Any,
        ) -> Any:
            def manner() -> Manner:
                return Manner(
                    name,
                    home_of(codex_home),
                    os.environ,
                    writes=do_it,
                    codex=None if no_prime else find_codex(codex_bin, os.environ),
                    choices=Choices(on_diverged, on_collision),
                    given=given,
                    below=tuple(path.resolve() for path in below),
                    patience=DEFAULT_SERVICE_LIMITS.lock_seconds,
                )

            return function(*arguments, manner=manner, **options)

        return placing_options(choice_options(_own_options(execute_option(common(gathered)))))

    return decorate


def _own_options(function: Decorated) -> Decorated:
    for option in (
        click.option("--no-prime", is_flag=True, help="Never start the installed Codex."),
        click.option(
            "--codex-bin",
            metavar="FILE",
            shell_complete=completing("files"),
            help="The installed Codex, to make a missing database. Default: codex on PATH.",
        ),
        click.option(
            "--packages-below",
            "below",
            multiple=True,
            metavar="DIR",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            shell_complete=completing("folders"),
            help="Packages that requests name must lie here; may be repeated. Default: anywhere.",
        ),
    ):
        function = option(function)
    return function


@contextmanager
def state_of(manner: Manner) -> Iterator[ServiceState]:
    """Where the service keeps what it holds: in the home, or, where it only plans, nowhere for
    long. Raises HomeError."""
    with ExitStack() as stack:
        if manner.writes:
            folder = manner.home.sync_dir / FOLDER
        else:
            folder = stack.enter_context(temporary_folder()) / FOLDER
        try:
            state = stack.enter_context(open_state(folder))
        except OSError as error:
            raise not_writable(folder, error) from error
        yield state


def stdin() -> BinaryIO:
    """What comes in, by a stream of its own: a thread waits at it when the process ends."""
    try:
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    except (OSError, ValueError, AttributeError):
        return sys.stdin.buffer


@contextmanager
def settling(service: Service) -> Iterator[None]:
    """Have a service that a signal ends leave the home whole; further signals wait for that."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        service.settle()
        raise


@contextmanager
def ending() -> Iterator[None]:
    """Turn a signal, or a reader that went away, into an exit code without a report."""
    try:
        yield
    except UnheardError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
        raise click.exceptions.Exit(128 + 13) from None
    except KeyboardInterrupt:
        raise click.exceptions.Exit(128 + 2) from None
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
        raise click.exceptions.Exit(code) from None
