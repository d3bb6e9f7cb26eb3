"""The JSON Schemas of every document on disk, and the check against them.

The only module that knows jsonschema and jsonschema-rs. The latter is some hundred times as fast:
it says what fits. What it does not let through jsonschema judges, and says where it fails.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import orjson

from .errors import HomeError, PackageError, StoreError, SyncError

if TYPE_CHECKING:
    from jsonschema.protocols import Validator


_HINTS: dict[type[SyncError], str] = {
    PackageError: "get the package again, or make it with a tool that writes this format",
    HomeError: "restore it from a backup, or move it away; nothing was changed",
    StoreError: "restore it from a backup of the store; nothing was changed",
}


def schema_names() -> list[str]:
    """The names of all schemas, without their ending."""
    return sorted(
        entry.name.removesuffix(".schema.json")
        for entry in files("codex_session_sync.schemas").iterdir()
        if entry.name.endswith(".schema.json")
    )


def check(name: str, document: Any, what: str, error: type[SyncError]) -> None:
    """Raise ``error`` (code ``NAME_invalid``) unless ``document`` fits the schema ``name``."""
    if _fits(_quick(name), document):
        return
    problem = next(_validator(name).iter_errors(document), None)
    if problem is not None:
        place = "/".join(map(str, problem.absolute_path)) or "top level"
        raise error(
            f"{name}_invalid",
            f"{what} does not fit its schema at {place}: {problem.message[:200]}",
            hint=_HINTS.get(error),
        )


def fits(name: str, document: Any) -> bool:
    """Whether a document fits the schema ``name``."""
    return _fits(_quick(name), document) or _validator(name).is_valid(document)


def misfit(name: str, document: Any) -> str | None:
    """Where a document does not fit the schema ``name``, and by which rule; None if it fits.

    Nothing of what the document says is in it but names that the schema knows.
    """
    if _fits(_quick(name), document):
        return None
    problem = next(_validator(name).iter_errors(document), None)
    if problem is None:
        return None
    place = "/".join(map(str, problem.absolute_path)) or "top level"
    if problem.validator == "required" and isinstance(problem.instance, dict):
        wanted: Any = problem.validator_value
        return f"{place}: lacks {', '.join(key for key in wanted if key not in problem.instance)}"
    return f"{place}: {problem.validator}"


def load(name: str, data: bytes, what: str, error: type[SyncError]) -> Any:
    """Parse a document and check it; raises ``error`` (code ``NAME_invalid``)."""
    document = parse(name, data, what, error)
    check(name, document, what, error)
    return document


def parse(name: str, data: bytes, what: str, error: type[SyncError]) -> Any:
    """Parse a JSON object without checking more of it; raises as ``load`` does."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as problem:
        raise error(
            f"{name}_invalid", f"{what} is not JSON: {problem}", hint=_HINTS.get(error)
        ) from problem
    if not isinstance(document, dict):
        raise error(f"{name}_invalid", f"{what} is no JSON object", hint=_HINTS.get(error))
    return document


def _fits(quick: jsonschema_rs.Draft202012Validator, document: Any) -> bool:
    """Whether a document surely fits; some are not for this validator, such as a row with bytes."""
    try:
        return quick.is_valid(document)
    except (TypeError, ValueError, OverflowError):
        return False


@cache
def _quick(name: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(_schema(name))


@cache
def _validator(name: str) -> Validator:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(_schema(name))


def _schema(name: str) -> Any:
    text = files("codex_session_sync.schemas").joinpath(f"{name}.schema.json").read_bytes()
    return orjson.loads(text)
