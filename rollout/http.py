"""The one place that makes HTTP clients, so that the library can be exchanged here."""

import httpx


def client(timeout_s: float = 10.0) -> httpx.AsyncClient:
    """A client that follows no redirect and ignores proxy settings of the environment."""
    return httpx.AsyncClient(timeout=timeout_s, follow_redirects=False, trust_env=False)
