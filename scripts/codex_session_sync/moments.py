"""The present time, and ids that sort by it, as documents of this program have them."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

_MOMENT = "%Y%m%dT%H%M%S%fZ"
_TICK = timedelta(microseconds=1)


def now() -> str:
    """The present time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_id() -> str:
    """An id that nobody else draws; ids sort by the moments at which they were drawn."""
    return f"{datetime.now(UTC):{_MOMENT}}-{secrets.token_hex(4)}"


def after(transaction_id: str, newest: str) -> str:
    """An id that sorts after the newest one, also where the clock was set back since."""
    if transaction_id > newest:
        return transaction_id
    moment, _, _ = newest.partition("-")
    try:
        later = datetime.strptime(moment, _MOMENT).replace(tzinfo=UTC) + _TICK
    except ValueError:
        return transaction_id
    return f"{later:{_MOMENT}}-{transaction_id.rpartition('-')[2]}"
