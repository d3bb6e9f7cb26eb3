"""What of a session is told of its surroundings, in the terms of this machine.

Directories and provider decide where and how Codex goes on. What the model was told of them stays:
Codex tells it of the new place by itself (``references/codex-storage.md``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from .codex.rollout import EVENT, META, SETTINGS_APPLIED, TURN_CONTEXT
from .model import Json, Row
from .places.mapping import PathMap
from .places.paths import parse

PATH_KEYS = frozenset(
    {
        *("cwd", "workspace_roots", "runtime_workspace_roots", "writable_roots"),
        *("sandbox_policy", "permission_profile"),
    }
)
"""Keys of settings under which every text that is a path is one of the machine."""


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What stands here for directories and providers of the source."""

    paths: PathMap = field(default_factory=PathMap)
    providers: Mapping[str, str] = field(default_factory=dict)

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

    def row(self, row: Row) -> Row:
        """A row of ``threads``."""
        found = dict(row)
        if isinstance(cwd := found.get("cwd"), str):
            found["cwd"] = self.directory(cwd)
        if isinstance(provider := found.get("model_provider"), str):
            found["model_provider"] = self.provider(provider)
        if isinstance(policy := found.get("sandbox_policy"), str) and self.paths.rules:
            found["sandbox_policy"] = self._policy_text(policy)
        return found

    def directory(self, path: str) -> str:
        """The directory that stands for one of the source."""
        return self.paths.map(path) or path

    def provider(self, name: str) -> str:
        """The provider that stands for one of the source."""
        return self.providers.get(name, name)

    def continuing(self, source: object, here: object) -> Adaptation:
        """The same, where a session that works in ``source`` continues one that works ``here``.

        What no rule is for then goes along with it.
        """
        if not isinstance(source, str) or not isinstance(here, str):
            return self
        before, after = parse(source), parse(here)
        if before is None or after is None or self.directory(source) == here:
            return self
        return replace(self, paths=self.paths.then(PathMap(((before, after),))))

    def _placed(self, settings: Json) -> Json:
        return {
            key: self._deep(value) if key in PATH_KEYS else value for key, value in settings.items()
        }

    def _deep(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.directory(value)
        if isinstance(value, list):
            return [self._deep(item) for item in value]
        if isinstance(value, dict):
            return {key: self._deep(item) for key, item in value.items()}
        return value

    def _provided(self, settings: Json, key: str) -> Json:
        name = settings.get(key)
        if not isinstance(name, str) or name not in self.providers:
            return settings
        return {**settings, key: self.providers[name]}

    def _policy_text(self, text: str) -> str:
        try:
            policy = orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
        return orjson.dumps(self._deep(policy)).decode()


AS_IT_IS = Adaptation()
