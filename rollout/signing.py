"""Signing of requests as Standard Webhooks says (HMAC-SHA256, `v1`), and where the secrets come from.

A file or variable holds one secret, or two during a rotation, each `whsec_` and base64 of 24 to 64 bytes.
Every request is signed with each of them. Secrets are read anew each time and never appear in a message.
"""

import base64
import os
from datetime import datetime
from pathlib import Path

from standardwebhooks.webhooks import Webhook

from rollout.core.errors import TransientError

LEAST, MOST = 24, 64  # bytes of a secret
AT_ONCE = 2  # secrets: the new one and the old one


def secrets_in(directory: Path, file: Path | None, variable: str | None) -> tuple[str, ...]:
    """Read the secrets. Raises TransientError naming the place: somebody may mend it meanwhile."""
    place = f"{directory / file}" if file else f"the environment variable {variable}"
    try:
        text = (directory / file).read_text("utf-8") if file else os.environ.get(variable or "", "")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise TransientError(f"The secret in {place} cannot be read: {why}. Mend it.") from None
    found = tuple(text.split())
    if not 1 <= len(found) <= AT_ONCE:
        raise TransientError(f"{place} holds {len(found)} secrets; write one, or two during a rotation.")
    if not all(map(_usable, found)):
        raise TransientError(
            f"A secret in {place} cannot be used: write whsec_ and the base64 of {LEAST} to {MOST} bytes."
        )
    return found


def signed(key: str, at: datetime, body: str, secrets: tuple[str, ...]) -> dict[str, str]:
    """The headers that prove who sent `body`, at `at` (UTC)."""
    return {
        "Idempotency-Key": key,
        "webhook-id": key,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(key, at, body) for secret in secrets),
    }


def _usable(secret: str) -> bool:
    coded = secret.removeprefix("whsec_")
    try:
        raw = base64.b64decode(coded + "=" * (-len(coded) % 4), validate=True)
    except ValueError:
        return False
    return secret.startswith("whsec_") and LEAST <= len(raw) <= MOST
