"""What an imported transcript may not bring along: whatever would act without asking.

Each rule was measured with the real Codex (``references/codex-storage.md``): approval and sandbox
settings resume as recorded, capability roots start programs, workspace roots widen the sandbox.
What only speaks (messages, instructions, tools offered to the model) is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from .codex.home import CodexHome, read_config
from .model import Json

DEFAULT_APPROVAL = "on-request"
"""What Codex does where nothing is configured."""

SETTINGS_THAT_ACT = (
    "approval_policy",
    "approvals_reviewer",
    "requested_approvals_reviewer",
    "permission_profile",
    "active_permission_profile",
    "sandbox_policy",
    "runtime_workspace_roots",
)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one sync.

    ``approval_policy`` is this machine's own, which takes the place of the package's; ``trusted``
    keeps everything as packaged.
    """

    approval_policy: str = DEFAULT_APPROVAL
    trusted: bool = False

    def meta(self, payload: Json, removed: set[str]) -> Json:
        """A ``session_meta`` payload without foreign capability and workspace roots."""
        if self.trusted:
            return payload
        kept = dict(payload)
        if kept.pop("selected_capability_roots", None):
            removed.add("selected_capability_roots")
        if "runtime_workspace_roots" in kept:
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
        if kept.get("approval_policy") not in (None, self.approval_policy):
            removed.add("approval_policy")
        if "approval_policy" in kept:
            kept["approval_policy"] = self.approval_policy
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
        if settings.get("approval_policy") not in (None, self.approval_policy):
            removed.add("approval_policy")
        if settings.get("active_permission_profile"):
            removed.add("active_permission_profile")
        kept = {k: v for k, v in settings.items() if k not in SETTINGS_THAT_ACT}
        return {**payload, "thread_settings": kept}


def local_policy(home: CodexHome, *, trusted: bool) -> Policy:
    """The rules for this home: its configured approval policy, or Codex's default."""
    config = read_config(home.path)
    chosen = config.get("approval_policy")
    profiles, profile = config.get("profiles"), config.get("profile")
    if isinstance(profiles, dict) and isinstance(profiles.get(profile), dict):
        chosen = profiles[profile].get("approval_policy", chosen)
    return Policy(chosen if isinstance(chosen, str) else DEFAULT_APPROVAL, trusted)
