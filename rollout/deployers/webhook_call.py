"""One signed request of the deployer `webhook`, and its answer in words; no order is understood here."""

from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Literal
from urllib.parse import urljoin, urlsplit

import httpx

from rollout.core.errors import PermanentError, TransientError
from rollout.sending import answered, origin, said

LARGEST = 1_000_000  # bytes of an answer
LONGEST_WAIT_S = 300.0  # that a target may ask for by Retry-After
AGAIN = frozenset({401, 403, 408, 425, 429})  # refusals that may pass; 401 and 403: secrets are being changed


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back: 200, 201 or 202. `location` is where to ask on, absolute."""

    code: int
    content: bytes
    location: str = ""


class AskedToWait(TransientError):
    """The target answered with a time before which it wants no further request."""

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Gone(TransientError):
    """What was asked for by its Location is not there any more."""


async def call(
    http: httpx.AsyncClient,
    method: Literal["GET", "POST"],
    url: str,
    *,
    body: str,
    headers: dict[str, str],
    timeout_s: float,
    now: datetime,
) -> Answered:
    """Send one request. Raises TransientError where asking again may help, PermanentError where not."""
    who = origin(url)
    async with answered(http, method, url, body=body, headers=headers, timeout_s=timeout_s) as response:
        content = await _bounded(response, who)
    _refuse(response, content, who, now)
    return Answered(response.status_code, content, _location(response, url, who))


async def _bounded(response: httpx.Response, who: str) -> bytes:
    """Read no more than is believed; packed answers are not unpacked, since a small one may be huge."""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise PermanentError(f"{who} answers packed ({response.headers['content-encoding'][:40]}); do not.")
    found = bytearray()
    async for part in response.aiter_raw():
        found += part
        if len(found) > LARGEST:
            raise PermanentError(f"{who} answers more than {LARGEST:,} bytes. Whether it acted is unknown.")
    return bytes(found)


def _refuse(response: httpx.Response, content: bytes, who: str, now: datetime) -> None:
    """Raise what a status other than 200, 201 and 202 means."""
    code = response.status_code
    if code in {200, 201, 202}:
        return
    if 300 <= code < 400:
        to = urlsplit(urljoin(str(response.request.url), response.headers.get("location", "")))
        raise PermanentError(
            f"{who} redirects ({code}) to {to.hostname or 'nowhere'}. A signed order follows no redirect: "
            "write the final address as `url`."
        )
    text = f"{who} answers {code}{said(content)}."
    if code in {404, 410} and response.request.method == "GET":
        raise Gone(text)
    if code in AGAIN or code >= 500:
        wait_s = _asked_wait(response.headers.get("retry-after", ""), now)
        hint = " It does not accept the signature: compare the secrets and clocks." if code == 401 else ""
        again = f" It asks to wait {wait_s:.0f} s." if wait_s else " It is asked again."
        raise AskedToWait(text + hint + again, wait_s)
    raise PermanentError(text)


def _location(response: httpx.Response, url: str, who: str) -> str:
    """Where to ask on; only the place that was asked may be named."""
    written: str = response.headers.get("location", "")
    if response.status_code != 202 or not written:
        return ""
    found = urljoin(url, written)
    if origin(found) != origin(url) or "@" in urlsplit(found).netloc:
        host = urlsplit(found).hostname or "nowhere"
        raise PermanentError(f"{who} names a Location on {host}; only its own address is asked.")
    return found


def _asked_wait(written: str, now: datetime) -> float:
    """Seconds that Retry-After names, by number or by date; 0 when it names none."""
    try:
        wait_s = float(written) if written.strip().isdecimal() else _until(written, now)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(0.0, wait_s), LONGEST_WAIT_S)


def _until(written: str, now: datetime) -> float:
    return (parsedate_to_datetime(written) - now).total_seconds()
