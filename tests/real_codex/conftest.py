"""Homes that the tests with the real Codex share, each made once per run."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from codexbed import (
    LEGACY,
    CodexHome,
    ModelServer,
    SessionView,
    copy_home,
    make_all,
    make_legacy,
    require_codex,
    view,
)
from real_codex.syncing import (
    FORMS,
    Case,
    Made,
    Outcome,
    Source,
    fresh_home,
    listed,
    outcome_of,
    shared,
)

OWN_KINDS = ("plain", "named", "archived", "fork", "legacy", "legacy_named")


@pytest.fixture(scope="session")
def model() -> Iterator[ModelServer]:
    """The model of this worker."""
    with ModelServer() as running:
        yield running


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The temporary directory of this worker."""
    require_codex()
    require_codex(LEGACY)
    return tmp_path_factory.getbasetemp()


@pytest.fixture(scope="session")
def source(base: Path, model: ModelServer) -> Source:
    """A home with a session of every kind."""
    return _filled(base, "source", model)


@pytest.fixture(scope="session")
def legacy_source(base: Path, model: ModelServer) -> Source:
    """A home that only the old release has worked on, and what that release shows."""

    def make(folder: Path) -> tuple[Made, dict[str, SessionView]]:
        home = CodexHome(folder / "home", folder / "user", model, version=LEGACY).prepare()
        made = make_legacy(home)
        views = view(home, [session.session_id for session in made.values()])
        return made, {kind: views[session.session_id] for kind, session in made.items()}

    folder, (made, views) = shared(base, "legacy", make)
    home = CodexHome(folder / "home", folder / "user", model, version=LEGACY)
    return Source(home, made, views)


@pytest.fixture(scope="session")
def source_order(source: Source) -> list[str]:
    """The ids of the source's sessions as Codex lists them, the last active first."""
    return listed(source.home)


@pytest.fixture(scope="session")
def used(base: Path, model: ModelServer) -> Source:
    """Another home, with sessions of its own."""
    return _filled(base, "used", model, OWN_KINDS)


@pytest.fixture(
    scope="session",
    params=[(form, place) for place in ("fresh", "used") for form in FORMS],
    ids="-into-".join,
)
def outcome(
    request: pytest.FixtureRequest,
    base: Path,
    model: ModelServer,
    source: Source,
    used: Source,
) -> Case:
    """A package of the source, of some form, synced as a whole into a fresh or a used home."""
    form, place = request.param

    def make(folder: Path) -> Outcome:
        package = FORMS[form](source, folder / "package")
        if place == "fresh":
            return outcome_of(fresh_home(source.home.user_home, folder / "home", model), package)
        home = replace(used.home, user_home=source.home.user_home)
        return outcome_of(copy_home(home, folder / "home").prepare(), package, used.ids())

    folder, found = shared(base, f"{form}-into-{place}", make)
    home = CodexHome(folder / "home", source.home.user_home, model)
    return Case(form, place, home, found)


def _filled(
    base: Path, name: str, model: ModelServer, only: Collection[str] | None = None
) -> Source:
    def make(folder: Path) -> tuple[Made, dict[str, SessionView]]:
        home = CodexHome(folder / "home", folder / "user", model).prepare()
        made = make_all(home, only)
        views = view(home, [session.session_id for session in made.values()])
        return made, {kind: views[session.session_id] for kind, session in made.items()}

    folder, (made, views) = shared(base, name, make)
    return Source(CodexHome(folder / "home", folder / "user", model), made, views)
