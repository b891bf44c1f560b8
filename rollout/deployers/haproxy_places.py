"""Which version each server of a backend runs: told by instances, by the servers themselves, or by hand."""

import asyncio
import ipaddress
import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from rollout.core.errors import TransientError
from rollout.core.model import Instance
from rollout.deployers.haproxy_socket import Server

ASK_S = 1.0  # for one server to say its version
LARGEST = 65_536  # bytes of that answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A server and what runs behind it. `version` is empty while nobody can say it.

    `sound` is false where the one who runs the instance says that it is not healthy.
    """

    server: Server
    version: str = ""
    sound: bool = True
    url: str = ""

    @property
    def name(self) -> str:
        """Of the server."""
        return self.server.name

    def __str__(self) -> str:
        return f"{self.server}, with {self.version or 'no version that is known'}"


def by_instance(servers: Mapping[str, Server], instances: Iterable[Instance], name: str) -> tuple[Place, ...]:
    """`name` makes a server's name of an instance's id; an instance without a server is left out."""
    told = {name.replace("{id}", one.id): one for one in instances}
    return tuple(
        Place(
            server=server,
            version=told[server.name].version,
            sound=told[server.name].healthy,
            url=told[server.name].url,
        )
        if server.name in told
        else Place(server=server, sound=False)
        for server in servers.values()
    )


def by_hand(servers: Mapping[str, Server], versions: Mapping[str, str]) -> tuple[Place, ...]:
    """As the options say."""
    return tuple(Place(server=one, version=versions.get(one.name, "")) for one in servers.values())


async def by_asking(
    servers: Mapping[str, Server], http: httpx.AsyncClient, path: str, field: str
) -> tuple[Place, ...]:
    """Each server says it at its own address; one that does not say it has no version."""

    async def place(server: Server) -> Place:
        url = f"http://{server.address}"
        return Place(server=server, version=await _version(http, url + path, field), url=url)

    return tuple(await asyncio.gather(*map(place, servers.values())))


async def _version(http: httpx.AsyncClient, url: str, field: str) -> str:
    try:
        async with asyncio.timeout(ASK_S), http.stream("GET", url, timeout=ASK_S) as answer:
            answer.raise_for_status()
            body = b""
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > LARGEST:
                    return ""
        found = json.loads(body)[field] if field else body.decode().strip()
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return found if isinstance(found, str) and len(found) <= 200 else ""


async def address_of(url: str) -> tuple[str, int] | None:
    """The IP address and port of an instance; None where its URL has none. Raises TransientError."""
    try:
        found = urlsplit(url)
        host, port = found.hostname, found.port or (443 if found.scheme == "https" else 80)
    except ValueError:
        return None
    if not host:
        return None
    try:
        return str(ipaddress.ip_address(host)), port
    except ValueError:
        pass
    try:
        told = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise TransientError(f"The address of {host} ({url}) is not found: {error.strerror}.") from error
    return str(told[0][4][0]), port
