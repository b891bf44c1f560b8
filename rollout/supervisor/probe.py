"""Asking one process what it is. Bounded in time, so that one that hangs hangs nobody else."""

import asyncio

import httpx


class ProbeError(Exception):
    """It did not answer as it should; the text says what was asked and what came."""


async def get(http: httpx.AsyncClient, url: str, within_s: float = 1.0) -> httpx.Response:
    """GET that takes `within_s` in all. Raises ProbeError unless the answer is 200."""
    path = "/" + url.split("/", 3)[-1]
    try:
        async with asyncio.timeout(within_s):
            response = await http.get(url, timeout=within_s)
    except (TimeoutError, httpx.TimeoutException) as error:
        raise ProbeError(f"GET {path} gave no answer within {within_s:g} s") from error
    except httpx.ConnectError as error:
        raise ProbeError(f"GET {path}: nothing listens there") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ProbeError(f"GET {path}: {type(error).__name__}") from error
    if response.status_code != 200:
        raise ProbeError(f"GET {path} answered {response.status_code}")
    return response


async def version(http: httpx.AsyncClient, url: str, within_s: float = 1.0) -> str:
    """The version that the process at `url` gives of itself. Raises ProbeError."""
    response = await get(http, f"{url}/version", within_s)
    try:
        return str(response.json()["version"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ProbeError("GET /version answered without a version") from error
