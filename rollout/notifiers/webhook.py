"""Notifier `webhook`: notices go to people's own tools as signed POSTs; the contract is docs/notifiers.md.

Each notice is sent under its key until the receiver answers 2xx, so a receiver may meet it twice and knows it
by `webhook-id`. How often and for how long it is tried is not decided here.
"""

import json
from datetime import UTC
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urljoin, urlsplit

import httpx
from pydantic import Field, field_validator, model_validator

from rollout.core.errors import PermanentError, TransientError
from rollout.ports import Notice
from rollout.registry import NOTIFIERS, Options, Surroundings
from rollout.sending import answered, origin, said
from rollout.signing import secrets_in, signed

READ = 2_000  # bytes of a refusal; nothing is read of an answer that says it was delivered
GONE = 410


class WebhookOptions(Options):
    """Where notices go, and the secret that signs them. `secret_file` is relative to the data directory."""

    url: str
    secret_file: Path | None = None
    secret_env: str | None = None
    timeout_s: Annotated[float, Field(ge=0.1, le=25)] = 10.0

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an address that begins with http:// or https://")
        if "@" in parts.netloc:
            raise ValueError("must not hold a password; notices are signed")
        return url

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if bool(self.secret_file) == bool(self.secret_env):
            raise ValueError("needs one of secret_file and secret_env: notices are signed")
        return self


@NOTIFIERS.register("webhook", WebhookOptions)
class WebhookNotifier:
    """Tells one address. What a message names of it is its origin: the path may be a secret."""

    def __init__(self, options: WebhookOptions, surroundings: Surroundings) -> None:
        self._options, self._around = options, surroundings

    async def send(self, notice: Notice) -> None:
        """Post `notice`. Raises PermanentError for 410 and an address that is none, else TransientError."""
        url, timeout_s = self._options.url, self._options.timeout_s
        secrets = secrets_in(self._around.directory, self._options.secret_file, self._options.secret_env)
        body = _body(notice)
        headers = signed(notice.key, self._around.clock.now(), body, secrets)
        http = self._around.http
        async with answered(http, "POST", url, body=body, headers=headers, timeout_s=timeout_s) as response:
            if not response.is_success:
                _refuse(response, await _beginning(response), origin(url))


def _body(notice: Notice) -> str:
    """The same at each try, so that a receiver may compare."""
    told = {
        "key": notice.key,
        "rollout_id": notice.rollout_id,
        "service": notice.service,
        "text": notice.text,
        "urgent": notice.urgent,
        "link": notice.link,
    }
    at = notice.at.astimezone(UTC).isoformat() if notice.at else None
    return json.dumps({"type": "notice", "timestamp": at, "data": told}, ensure_ascii=False)


async def _beginning(response: httpx.Response) -> bytes:
    """As much of a refusal as is worth reading; a packed one is not unpacked."""
    found = bytearray()
    if response.headers.get("content-encoding", "identity").lower() == "identity":
        async for part in response.aiter_raw():
            found += part
            if len(found) >= READ:
                break
    return bytes(found[:READ])


def _refuse(response: httpx.Response, content: bytes, who: str) -> None:
    code = response.status_code
    if code == GONE:
        raise PermanentError(
            f"{who} answers 410{said(content)}: it wants no notices any more. Correct ROLLOUT_NOTIFY_URL, "
            "or unset it."
        )
    if 300 <= code < 400:
        to = urlsplit(urljoin(str(response.request.url), response.headers.get("location", "")))
        raise TransientError(
            f"{who} redirects ({code}) to {to.hostname or 'nowhere'}. A signed notice follows no redirect: "
            "write the final address as ROLLOUT_NOTIFY_URL."
        )
    hint = " It does not accept the signature: compare the secrets and clocks." if code == 401 else ""
    raise TransientError(f"{who} answers {code}{said(content)}.{hint} It is told again.")
