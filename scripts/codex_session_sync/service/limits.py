"""What a program on the other side may ask of this machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """Generous; none of it is what a request may ask to be raised.

    ``frame_bytes``: one line. ``frame_depth``: objects and arrays in each other.
    ``waiting_bytes``: lines that were read and wait; nothing more is read then.
    ``uploads``: open at a time. ``upload_chunks``: of one upload. ``upload_bytes``: staged of all
    uploads together, as they came. ``session_bytes``: what one upload may come to, decompressed.
    ``window_bytes``: the memory that a frame of zstd may ask for. ``upload_seconds``: after which
    an upload without a new chunk is dropped. ``kept_seconds``: how long answers and ended jobs are
    kept. ``jobs``: that have not ended. ``lock_seconds``: how long a request waits while another
    command has the home.
    """

    frame_bytes: int = 16 << 20
    frame_depth: int = 160
    waiting_bytes: int = 32 << 20
    uploads: int = 64
    upload_chunks: int = 16_384
    upload_bytes: int = 16 << 30
    session_bytes: int = 32 << 30
    window_bytes: int = 128 << 20
    upload_seconds: int = 24 * 3600
    kept_seconds: int = 30 * 24 * 3600
    jobs: int = 1000
    lock_seconds: float = 60.0


DEFAULT_SERVICE_LIMITS = ServiceLimits()

ANSWERS = ServiceLimits(frame_bytes=1 << 30)
"""Of what a worker hears: the answer for a package tells of each of its sessions."""
