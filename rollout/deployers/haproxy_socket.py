"""haproxy's runtime socket: one command for each connection, and answers that are checked, never trusted.

haproxy reports errors as text, with no code: a command that should answer nothing and answers something has
failed. See "Unix Socket commands" in haproxy's management guide.
"""

import asyncio
import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass

from rollout.core.errors import PermanentError, TransientError

LARGEST = 2**20  # bytes of an answer; a backend of 2,000 servers answers half of it
HEAVIEST = 256  # the largest weight of a server
_WEIGHT = re.compile(r"(\d+) \(initial \d+\)")
_POINTED = re.compile(r"(no need to change|IP changed|port changed)")
_FOR_GOOD = {
    "Permission denied": "the socket needs `level admin`",
    "static LB algorithm": "its `balance` must be one whose weights change at runtime: roundrobin, random, "
    "leastconn, or a hash with `hash-type consistent`",
    "Absolute weight": "weights are 0 to 256",
    "Unknown command": "this haproxy does not know the command",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server of a backend as haproxy sees it. `why` is what its last check said."""

    name: str
    status: str  # UP, DOWN, MAINT, DRAIN, NOLB, no check, and how far it is between two of them
    weight: int
    address: str
    backup: bool = False
    why: str = ""
    since_s: int = 0  # for which it has had this status

    @property
    def up(self) -> bool:
        """Whether it is given requests when its weight allows it."""
        return self.status.split(" ")[0] == "UP" or self.status == "no check"

    @property
    def in_service(self) -> bool:
        """Whether no person took it out (MAINT, DRAIN); it may be down."""
        return not self.backup and self.status.split(" ")[0] not in {"MAINT", "DRAIN"}

    @property
    def carries(self) -> int:
        """The weight with which it is given requests now."""
        return self.weight if self.up and self.in_service else 0

    def __str__(self) -> str:
        return f"{self.name} is {self.status}{f' ({self.why})' if self.why else ''}"


class HaproxySocket:
    """Asks and sets. Every method raises TransientError and PermanentError."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self.address = address
        self._timeout_s = timeout_s

    async def servers(self, backend: str) -> dict[str, Server]:
        """Every server of a backend, by name."""
        text = await self._ask(f"show stat {backend} 4 -1")
        if text.strip() == "No such proxy.":
            raise await self._unknown_backend(backend)
        if not text.startswith("# "):
            raise self._garbage("show stat", text)
        try:
            found = [_server(row) for row in csv.DictReader(io.StringIO(text[2:].strip()))]
        except (KeyError, ValueError, TypeError, csv.Error) as error:
            raise self._garbage("show stat", text) from error
        return {server.name: server for server in found}

    async def weight(self, backend: str, server: str) -> int:
        """`get weight`, checked."""
        text = (await self._ask(f"get weight {backend}/{server}")).strip()
        found = _WEIGHT.fullmatch(text)
        if found is None:
            raise await self._refused(f"get weight {backend}/{server}", text, backend)
        return int(found[1])

    async def set_weight(self, backend: str, server: str, weight: int) -> None:
        """`set server … weight`, and `get weight` to see that it took."""
        command = f"set server {backend}/{server} weight {weight}"
        if text := (await self._ask(command)).strip():
            raise await self._refused(command, text, backend)
        if (now := await self.weight(backend, server)) != weight:
            raise TransientError(
                f"{backend}/{server} was set to weight {weight} and says {now}; somebody else sets it too. "
                "It is tried again."
            )

    async def point(self, backend: str, server: str, host: str, port: int) -> None:
        """Give a server another address; `host` is an IP address."""
        command = f"set server {backend}/{server} addr {host} port {port}"
        text = (await self._ask(command)).strip()
        if not _POINTED.match(text):
            raise await self._refused(command, text, backend)

    async def start(self) -> str:
        """Which start of haproxy answers: another one has forgotten all that was set in the last."""
        lines = (line.partition(": ") for line in (await self._ask("show info")).splitlines())
        told = {name: value.strip() for name, _, value in lines}
        if not told.get("Pid"):
            raise self._garbage("show info", str(told))
        return f"{told['Pid']}@{told.get('Start_time_sec', '')}"

    # ------------------------------------------------------------------ one command

    async def _ask(self, command: str) -> str:
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._exchange(command)
        except TimeoutError as error:
            raise TransientError(
                f"haproxy at {self.address} did not answer `{command}` within {self._timeout_s:g} s. "
                "It is tried again."
            ) from error
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise TransientError(
                f"haproxy at {self.address} cannot be asked: {why}. Is it running, and may this user use the "
                "socket? It is tried again."
            ) from error
        if len(answer) > LARGEST:
            raise TransientError(f"haproxy at {self.address} answered `{command}` with over {LARGEST} bytes.")
        if not answer.endswith(b"\n"):
            raise TransientError(f"haproxy at {self.address} broke off its answer to `{command}`.")
        return answer.decode("utf-8", "replace")

    async def _exchange(self, command: str) -> bytes:
        host, _, port = self.address.rpartition(":")
        opening = (
            asyncio.open_unix_connection(self.address)
            if "/" in self.address
            else asyncio.open_connection(host.strip("[]"), int(port))
        )
        reader, writer = await opening
        try:
            writer.write(f"{command}\n".encode())
            await writer.drain()
            answer = b""
            while len(answer) <= LARGEST and (part := await reader.read(65_536)):
                answer += part
            return answer
        finally:
            writer.close()

    # ------------------------------------------------------------------ what went wrong

    async def _refused(self, command: str, text: str, backend: str) -> PermanentError | TransientError:
        if text == "No such backend.":
            return await self._unknown_backend(backend)
        if text == "No such server.":
            known = ", ".join(sorted(await self.servers(backend))) or "none"
            return PermanentError(f"haproxy has no such server: `{command}`. Servers of {backend}: {known}.")
        for said, remedy in _FOR_GOOD.items():
            if said in text:
                return PermanentError(
                    f"haproxy refused `{command}`: {text.splitlines()[0][:200]} ({remedy})."
                )
        return self._garbage(command, text)

    async def _unknown_backend(self, backend: str) -> PermanentError:
        lines = (await self._ask("show backend")).splitlines()
        known = ", ".join(line.strip() for line in lines if line.strip() and not line.startswith("#"))
        return PermanentError(f"haproxy has no backend '{backend}'; known: {known or 'none'}.")

    def _garbage(self, command: str, text: str) -> TransientError:
        return TransientError(
            f"haproxy at {self.address} answered `{command}` with what cannot be understood: "
            f"{text.strip()[:200]!r}. It is tried again."
        )


def _server(row: Mapping[str, str]) -> Server:
    check = " ".join(filter(None, (row["check_status"], row.get("last_chk") or "")))
    return Server(
        name=row["svname"],
        status=row["status"],
        weight=int(row.get("uweight") or row["weight"]),
        address=row.get("addr") or "",
        backup=row["bck"] == "1",
        why="" if row["status"] in {"UP", "no check"} else check,
        since_s=int(row["lastchg"] or 0),
    )
