"""The one place that makes HTTP clients, so that the library can be exchanged here.

Connections come from pools that share nothing: work of one kind, or in one region, that takes all of its own
leaves those of others as they are.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import httpx

CONNECTIONS = 100  # of one pool, at once
KEPT = 20  # of them, idle, for the next request
_POOL: ContextVar[str] = ContextVar("pool", default="")


@contextmanager
def pool(name: str) -> Iterator[None]:
    """Requests that are made inside, in this task, take their connections from the pool of that name."""
    before = _POOL.set(name)
    try:
        yield
    finally:
        _POOL.reset(before)


class _Pools(httpx.AsyncBaseTransport):
    """A pool of connections for each name that was used; names are few and known, as regions are."""

    def __init__(self, trusted: ssl.SSLContext) -> None:
        self._trusted = trusted
        self._pools: dict[str, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it over a connection of the pool that its task asks for."""
        name = _POOL.get()
        if name not in self._pools:
            limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=KEPT)
            self._pools[name] = httpx.AsyncHTTPTransport(verify=self._trusted, trust_env=False, limits=limits)
        return await self._pools[name].handle_async_request(request)

    async def aclose(self) -> None:
        """Close every connection."""
        for each in self._pools.values():
            await each.aclose()


def client(timeout_s: float = 10.0) -> httpx.AsyncClient:
    """A client that follows no redirect and ignores proxy settings of the environment."""
    pools = _Pools(httpx.create_ssl_context(trust_env=False))
    return httpx.AsyncClient(timeout=timeout_s, follow_redirects=False, trust_env=False, transport=pools)


def blocking_client(timeout_s: float = 10.0, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """The same for the CLI, which waits for each answer; `transport` replaces the network in tests."""
    return httpx.Client(timeout=timeout_s, follow_redirects=False, trust_env=False, transport=transport)
