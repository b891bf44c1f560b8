"""The one place that makes HTTP clients, so that the library can be exchanged here."""

import httpx


def client(timeout_s: float = 10.0) -> httpx.AsyncClient:
    """A client that follows no redirect and ignores proxy settings of the environment."""
    return httpx.AsyncClient(timeout=timeout_s, follow_redirects=False, trust_env=False)


def blocking_client(timeout_s: float = 10.0, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """The same for the CLI, which waits for each answer; `transport` replaces the network in tests."""
    return httpx.Client(timeout=timeout_s, follow_redirects=False, trust_env=False, transport=transport)
