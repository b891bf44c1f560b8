"""Prefixed ids that sort by time, such as `ro_01JD8K2M4Q7ZC3NV`: 10 characters of time, 6 of chance."""

import secrets
from datetime import datetime

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: nothing that reads as something else


def new_id(prefix: str, now: datetime) -> str:
    """A new id; ids made in different milliseconds sort as their times do."""
    milliseconds = int(now.timestamp() * 1000)
    time = "".join(_ALPHABET[milliseconds >> shift & 31] for shift in range(45, -1, -5))
    return f"{prefix}_{time}{''.join(secrets.choice(_ALPHABET) for _ in range(6))}"
