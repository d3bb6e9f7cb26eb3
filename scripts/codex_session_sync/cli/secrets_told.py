"""What ``pack`` tells of the secrets in what it packs: kinds, numbers and places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..errors import HomeError
from ..model import Notice
from ..packing.detector import Detector
from ..packing.secrets import Secret, SecretScan
from ..report.envelope import Problem
from ..report.pack_text import place_text


def scan_for(*, may_lack: bool) -> tuple[SecretScan, tuple[Notice, ...]]:
    """The scan, and what is to be told where there is none. Raises HomeError."""
    try:
        return SecretScan(Detector()), ()
    except HomeError as error:
        if not may_lack:
            raise
        return SecretScan(None), (Notice("secret_scan_unavailable", error.message),)


def stopped(secrets: Sequence[Secret]) -> tuple[Problem, ...]:
    """Why nothing was written, by session."""
    hint = (
        "take them out of the session or revoke them; leave it out by choosing others with "
        "--session; or pack them all the same: `codex-session-sync AGAIN --allow-secrets`"
    )
    return tuple(
        Problem("secrets_found", f"nothing was written: it holds {what}", hint, session_id)
        for session_id, what in _told(secrets, certain=True)
    )


def allowed(secrets: Sequence[Secret]) -> tuple[Notice, ...]:
    """The secrets that were packed, by session."""
    return tuple(
        Notice("secrets_packed", f"the package holds {what}", session_id)
        for session_id, what in _told(secrets, certain=True)
    )


def suspected(secrets: Sequence[Secret]) -> tuple[Notice, ...]:
    """What may be secret, by session."""
    return tuple(
        Notice("secrets_suspected", f"this may be secret: {what}", session_id)
        for session_id, what in _told(secrets, certain=False)
    )


def _told(secrets: Sequence[Secret], *, certain: bool) -> list[tuple[str, str]]:
    """By session how many secrets of which kind there are, and where the first is."""
    groups: dict[str, list[Secret]] = {}
    for secret in secrets:
        if secret.certain == certain:
            groups.setdefault(secret.session_id, []).append(secret)
    told = []
    for session_id, group in groups.items():
        counts: Counter[str] = Counter()
        for secret in group:
            counts[secret.kind] += secret.count
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
        told.append((session_id, f"{kinds}; the first {place_text(group[0].to_json())}"))
    return told
