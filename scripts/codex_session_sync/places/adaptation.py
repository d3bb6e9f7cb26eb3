"""What of a session is told of its surroundings, in the terms of this machine.

Directories and provider decide where and how Codex goes on. What the model was told of them stays:
Codex tells it of the new place by itself (``references/codex-storage.md``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import orjson

from ..codex.rollout import EVENT, META, SETTINGS_APPLIED, TURN_CONTEXT
from ..model import Json, Row
from .mapping import PathMap
from .paths import parse

PATH_KEYS = frozenset(
    {
        *("cwd", "workspace_roots", "runtime_workspace_roots", "writable_roots"),
        *("sandbox_policy", "file_system_sandbox_policy", "permission_profile"),
    }
)
"""Keys of settings under which every text that is a path is one of the machine."""


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What stands here for directories and providers of the source.

    ``here``: where the session works on this machine. ``stays``: it does so through all its turns,
    wherever its source went; what lies below the source's directory goes along.
    """

    paths: PathMap = field(default_factory=PathMap)
    providers: Mapping[str, str] = field(default_factory=dict)
    here: str | None = None
    stays: bool = False

    def record(self, kind: str, payload: Json) -> Json:
        """The payload of a record of this type."""
        if kind == META:
            return self._provided(self._placed(payload), "model_provider")
        if kind == TURN_CONTEXT:
            return self._placed(payload)
        if kind == EVENT and payload.get("type") == SETTINGS_APPLIED:
            settings = payload.get("thread_settings")
            if isinstance(settings, dict):
                settings = self._provided(self._placed(settings), "model_provider_id")
                return {**payload, "thread_settings": settings}
        return payload

    def head(self, meta: Json, last_cwd: str | None) -> Json:
        """The payload of a session's first record; ``last_cwd`` is where it worked at the end."""
        meta = self.record(META, {**meta, "cwd": last_cwd} if last_cwd else meta)
        return {**meta, "cwd": self.here} if self.here else meta

    def row(self, row: Row) -> Row:
        """A row of ``threads``."""
        found = dict(row)
        if isinstance(cwd := found.get("cwd"), str):
            found["cwd"] = self.here or self.directory(cwd)
        if isinstance(provider := found.get("model_provider"), str):
            found["model_provider"] = self.provider(provider)
        if isinstance(policy := found.get("sandbox_policy"), str):
            found["sandbox_policy"] = _policy_text(policy, self.paths)
        return found

    def directory(self, path: str) -> str:
        """The directory that stands for one of the source."""
        return self.paths.map(path)

    def provider(self, name: str) -> str:
        """The provider that stands for one of the source."""
        return self.providers.get(name, name)

    def settled(self, source: str | None, here: str | None) -> Adaptation:
        """The same for a new session, which works in ``source`` there and ``here`` here."""
        if here is None:
            return self
        return replace(self, here=here, paths=_along(self.paths, source, here))

    def staying(self, here: str | None, there: Json, local: Json) -> Adaptation:
        """The same for a session that goes on: it is where it was, with the provider that it had.

        ``there`` and ``local`` are its ``session_meta`` on both sides.
        """
        before, after = there.get("model_provider"), local.get("model_provider")
        kept = {before: after} if isinstance(before, str) and isinstance(after, str) else {}
        return replace(self, here=here, stays=True, providers={**self.providers, **kept})

    def _placed(self, settings: Json) -> Json:
        cwd, paths = settings.get("cwd"), self.paths
        stays = self.stays and self.here is not None and isinstance(cwd, str)
        if stays:
            paths = _along(paths, cwd, self.here)
        elif paths.says_nothing:
            return settings
        placed = {
            key: _deep(value, paths) if key in PATH_KEYS else value
            for key, value in settings.items()
        }
        return {**placed, "cwd": self.here} if stays else placed

    def _provided(self, settings: Json, key: str) -> Json:
        name = settings.get(key)
        if not isinstance(name, str) or name not in self.providers:
            return settings
        return {**settings, key: self.providers[name]}


@lru_cache(maxsize=16)
def _along(paths: PathMap, source: str | None, here: str | None) -> PathMap:
    """Rules by which ``source``, and what lies below it, is ``here``."""
    before, after = parse(source or ""), parse(here or "")
    if before is None or after is None or paths.map(str(source)) == here:
        return paths
    return PathMap(((before, after),)).then(paths)


def _deep(value: Any, paths: PathMap) -> Any:
    if isinstance(value, str):
        return paths.map(value)
    if isinstance(value, list):
        return [_deep(item, paths) for item in value]
    if isinstance(value, dict):
        return {key: _deep(item, paths) for key, item in value.items()}
    return value


def _policy_text(text: str, paths: PathMap) -> str:
    """A sandbox policy, which rows have as JSON text; the same text if nothing in it changes."""
    try:
        policy = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    placed = _deep(policy, paths)
    return text if placed == policy else orjson.dumps(placed).decode()


AS_IT_IS = Adaptation()
