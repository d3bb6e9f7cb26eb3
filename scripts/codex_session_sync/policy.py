"""What an imported transcript may not bring along: whatever would act without asking.

Each rule was measured with the real Codex (``references/codex-storage.md``): approval and sandbox
settings resume as recorded, capability roots start programs, workspace roots widen the sandbox,
plugins that guard are turned off.
What only speaks (messages, instructions, tools offered to the model) is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath

import orjson

from .codex.home import CodexHome, read_config, setting
from .model import Json
from .roots import Roots, local_roots, projects

DEFAULT_APPROVAL = "on-request"
"""What Codex does where nothing is configured."""

UNTRUSTED_APPROVAL = "untrusted"
"""What Codex does then in a project that is marked as untrusted."""

SETTINGS_THAT_ACT = (
    "approval_policy",
    "approvals_reviewer",
    "requested_approvals_reviewer",
    "permission_profile",
    "active_permission_profile",
    "sandbox_policy",
    "runtime_workspace_roots",
    "disabled_plugin_ids",
)


ACTING_IN_TURN = (
    "cwd",
    "approval_policy",
    "approvals_reviewer",
    "active_permission_profile",
    "disabled_plugin_ids",
)
"""Keys of a ``turn_context`` on which its rule depends."""

ACTING_IN_META = ("cwd", "runtime_workspace_roots", "selected_capability_roots")
"""Keys of a ``session_meta`` on which its rule depends."""

MEANING = {
    "active_permission_profile": "a permission profile of its own",
    "approval_policy": "another approval policy than this machine's",
    "approvals_reviewer": "approval by somebody else than you",
    "disabled_plugin_ids": "turning off plugins of this machine",
    "permission_profile": "leave to write or to use the network",
    "runtime_workspace_roots": "folders to write to that are not its own",
    "selected_capability_roots": "plugins that start programs",
}
"""What is taken away, in words."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one sync.

    ``approval_policy`` is this machine's own, as a row has it, which takes the place of the
    package's; ``trusted`` keeps everything as packaged. ``granular`` is the policy's table, where
    one is configured; ``untrusted`` are the directories marked so, where no policy is configured;
    ``roots`` says which directories may not become writable.
    """

    approval_policy: str = DEFAULT_APPROVAL
    trusted: bool = False
    granular: Json | None = None
    untrusted: frozenset[PurePath] = frozenset()
    roots: Roots = field(default_factory=Roots)

    def meta(self, payload: Json, removed: set[str]) -> Json:
        """A ``session_meta`` payload without foreign capability and workspace roots."""
        if self.trusted:
            return payload
        kept = dict(payload)
        if kept.pop("selected_capability_roots", None):
            removed.add("selected_capability_roots")
        if self.roots.too_wide(kept.get("cwd")):
            # Without any root nothing is writable; without the key the directory would be.
            kept["runtime_workspace_roots"] = []
            removed.add("runtime_workspace_roots")
        elif "runtime_workspace_roots" in kept:
            roots = kept["runtime_workspace_roots"]
            kept["runtime_workspace_roots"] = [kept["cwd"]] if "cwd" in kept else []
            if roots not in ([payload.get("cwd")], kept["runtime_workspace_roots"], []):
                removed.add("runtime_workspace_roots")
        return kept

    def turn_context(self, payload: Json, removed: set[str]) -> Json:
        """A ``turn_context`` payload under this machine's approval policy."""
        if self.trusted:
            return payload
        kept = dict(payload)
        if kept.pop("active_permission_profile", None):
            removed.add("active_permission_profile")
        if kept.get("disabled_plugin_ids"):
            kept["disabled_plugin_ids"] = []
            removed.add("disabled_plugin_ids")
        approval = self._approval(kept.get("cwd"))
        if kept.get("approval_policy") not in (None, approval):
            removed.add("approval_policy")
        if "approval_policy" in kept:
            # Never left out: Codex passes over a turn_context that lacks it.
            kept["approval_policy"] = approval
        if kept.get("approvals_reviewer") not in (None, "user"):
            removed.add("approvals_reviewer")
            kept["approvals_reviewer"] = "user"
        return kept

    def settings(self, payload: Json, removed: set[str]) -> Json:
        """A ``thread_settings_applied`` payload that Codex passes over.

        Without the settings that act it is incomplete, and Codex ignores an incomplete one; the
        record keeps its place, so that ordinals have no gap.
        """
        settings = payload.get("thread_settings")
        if self.trusted or not isinstance(settings, dict):
            return payload
        if settings.get("approval_policy") not in (None, self._approval(settings.get("cwd"))):
            removed.add("approval_policy")
        if settings.get("approvals_reviewer") not in (None, "user"):
            removed.add("approvals_reviewer")
        if settings.get("active_permission_profile"):
            removed.add("active_permission_profile")
        if _permits_more_than_reading(settings.get("permission_profile")):
            removed.add("permission_profile")
        if settings.get("runtime_workspace_roots") not in (None, [], [settings.get("cwd")]):
            removed.add("runtime_workspace_roots")
        if settings.get("disabled_plugin_ids"):
            removed.add("disabled_plugin_ids")
        kept = {k: v for k, v in settings.items() if k not in SETTINGS_THAT_ACT}
        return {**payload, "thread_settings": kept}

    def _approval(self, cwd: object) -> str | Json:
        """This machine's approval policy as a transcript has it, in some directory."""
        if self.granular is not None:
            return self.granular
        if self.untrusted and isinstance(cwd, str):
            path = PurePath(cwd)
            if not self.untrusted.isdisjoint((path, *path.parents)):
                return UNTRUSTED_APPROVAL
        return self.approval_policy


def _permits_more_than_reading(profile: object) -> bool:
    """Whether a permission profile lets commands write or use the network."""
    match profile:
        case None:
            return False
        case {
            "type": "managed",
            "file_system": {"type": "restricted", "entries": list(entries)},
            "network": "restricted",
        }:
            allowed = [e.get("access") if isinstance(e, dict) else None for e in entries]
            return not all(access in ("read", "none", "deny") for access in allowed)
    return True


def local_policy(home: CodexHome, *, trusted: bool) -> Policy:
    """The rules for this home: its configured approval policy, or Codex's default."""
    config = read_config(home.path)
    roots = local_roots(home.path, config)
    chosen = setting(config, "approval_policy")
    if isinstance(chosen, str):
        return Policy(chosen, trusted, roots=roots)
    if isinstance(chosen, dict):
        return Policy(orjson.dumps(chosen).decode(), trusted, granular=chosen, roots=roots)
    untrusted = frozenset(projects(config, "untrusted"))
    return Policy(trusted=trusted, untrusted=untrusted, roots=roots)
