"""One request that changes something at a server of somebody else, in bounded time; its failures in words.

Every request has a connection of its own, so that a second answer on an old one can never be taken for the
answer to the next request. No redirect is followed. What must not live here: what an answer means.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import urlsplit

import httpx

from rollout.core.errors import PermanentError, TransientError

UNKNOWN = "Whether it acted is unknown; it is asked again under the same key."
SAID = 300  # characters of what a server says that are passed on


@asynccontextmanager
async def answered(
    http: httpx.AsyncClient,
    method: Literal["GET", "POST"],
    url: str,
    *,
    body: str,
    headers: Mapping[str, str],
    timeout_s: float,
) -> AsyncIterator[httpx.Response]:
    """Send one request; the head of its answer, whose body is read inside, packed by nobody.

    Raises TransientError for whatever fails on the way, within `timeout_s` for all of it, and PermanentError
    for an address that is none.
    """
    who = origin(url)
    sent = {**headers, "Accept": "application/json", "Accept-Encoding": "identity", "Connection": "close"}
    if method == "POST":
        sent["Content-Type"] = "application/json"
    try:
        async with (
            asyncio.timeout(timeout_s),
            http.stream(
                method, url, content=body or None, headers=sent, timeout=timeout_s, follow_redirects=False
            ) as response,
        ):
            yield response
    except (TimeoutError, httpx.TimeoutException) as error:
        raise TransientError(f"{who} did not answer within {timeout_s:g} s. {UNKNOWN}") from error
    except httpx.ConnectError as error:
        raise TransientError(f"{who} cannot be reached: {_why(error)}. It is asked again.") from error
    except httpx.InvalidURL as error:
        raise PermanentError(f"{who} is no address that can be asked; correct `url`.") from error
    except (httpx.HTTPError, OSError) as error:
        raise TransientError(f"{who} broke off its answer: {_why(error)}. {UNKNOWN}") from error


def origin(url: str) -> str:
    """Scheme, host and port: all of an address that may be shown, since the rest may hold what is secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def said(content: bytes) -> str:
    """The first line of a refusal, or its `message` where it is JSON, as `: …`; empty when there is none."""
    try:
        told = httpx.Response(200, content=content).json().get("message", "")
    except (ValueError, AttributeError, RecursionError):
        told = content.decode("utf-8", errors="replace")
    line = "".join(letter if letter.isprintable() else " " for letter in str(told))[:SAID].strip().rstrip(".")
    return f": {line}" if line else ""


def _why(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:200]
