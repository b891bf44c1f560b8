"""One service's backend: what is there, what was ordered, and how the first becomes the second.

Everything that sets a weight holds `lock`; nothing that waits for another deployer does.
"""

import asyncio
from collections.abc import Mapping, Sequence

import structlog

from rollout.core.errors import PermanentError
from rollout.core.model import Instance
from rollout.deployers.haproxy_memory import Memory, Part, Wanted
from rollout.deployers.haproxy_options import BackendOptions
from rollout.deployers.haproxy_places import Place, address_of, by_asking, by_hand, by_instance
from rollout.deployers.haproxy_shares import in_safe_order
from rollout.deployers.haproxy_socket import HaproxySocket
from rollout.ports import Deployer
from rollout.registry import Surroundings

log = structlog.get_logger(__name__)


class Backend:
    """Reads and sets. Every method raises TransientError and PermanentError."""

    def __init__(
        self,
        service: str,
        options: BackendOptions,
        connection: HaproxySocket,
        memory: Memory,
        through: Deployer | None,
        around: Surroundings,
    ) -> None:
        self._service, self._options, self._through, self._around = service, options, through, around
        self._socket, self._memory = connection, memory
        self._told = ""
        self.lock = asyncio.Lock()

    async def places(self, told: Sequence[Instance] | None = None) -> tuple[Place, ...]:
        """Every server that is no backup, and what runs behind it: as `told`, or as is asked now."""
        options = self._options
        there = await self._socket.servers(options.backend)
        servers = {name: server for name, server in there.items() if not server.backup}
        if self._through is not None:
            found = await self._through.instances(self._service) if told is None else told
            return by_instance(servers, found, options.server)
        if options.version_at is not None:
            return await by_asking(
                servers, self._around.http, options.version_at.path, options.version_at.field
            )
        return by_hand(servers, options.servers)

    async def weights(self, places: Sequence[Place]) -> list[int]:
        """Each server's, by `get weight`."""
        return [await self._socket.weight(self._options.backend, place.name) for place in places]

    def wanted(self, key: str) -> Wanted:
        """What an order wants, unless a newer one came while another deployer was waited for."""
        wanted = self._memory.read(self._service)
        if wanted is None or wanted.key != key:
            raise PermanentError(f"{key} was overtaken by {wanted.key if wanted else 'nothing on record'}.")
        return wanted

    async def set(self, wanted: Wanted, places: Sequence[Place], weights: Mapping[str, int]) -> None:
        """Keep these weights with what was set before, then make all of it so."""
        versions = {place.name: place.version for place in places}
        fresh = {name: Part(version=versions[name], weight=weight) for name, weight in weights.items()}
        there = {name: part for name, part in wanted.servers.items() if name in versions}
        new = wanted.model_copy(update={"servers": {**there, **fresh}, "start": await self._socket.start()})
        if new != wanted:
            await asyncio.to_thread(self._memory.write, self._service, new)
        await self._change(new, places, new.weights)

    async def look(self, told: Sequence[Instance] | None = None) -> str:
        """Set again what a restart of haproxy has forgotten; say what somebody changed by hand.

        A weight that a person changed is left as it is: in an emergency that is their right, and the next
        order sets all of them. Returns what was found, in words; empty when all is as it was ordered.
        """
        async with self.lock:
            wanted = await asyncio.to_thread(self._memory.read, self._service)
            if wanted is None or not wanted.servers:
                return ""
            start, places = await self._socket.start(), await self.places(told)
            restarted = start != wanted.start
            now = {place.name: place.server.weight for place in places}
            off = {name: w for name, w in wanted.weights.items() if name in now and now[name] != w}
            await self._change(wanted, places, off if restarted else {})
            if restarted:
                again = wanted.model_copy(update={"start": start})
                await asyncio.to_thread(self._memory.write, self._service, again)
            text = _in_words(wanted.weights, now, off, restarted=restarted)
            self.tell(text)
            return text

    def tell(self, text: str) -> None:
        """Log what was found, once for each change."""
        if text and self._told != text:
            log.warning(text, service=self._service, region=self._around.region)
        self._told = text

    async def _change(self, wanted: Wanted, places: Sequence[Place], weights: Mapping[str, int]) -> None:
        """Weights first, so that nobody is found at an address before its weight is right."""
        now = {place.name: place.server.weight for place in places}
        settled = {place.name for place in places if place.sound and place.version == wanted.from_version}
        for name, weight in in_safe_order(now, weights, set(now) - settled):
            await self._socket.set_weight(self._options.backend, name, weight)
        await self.follow(places)

    async def follow(self, places: Sequence[Place]) -> None:
        """Point servers at their instances, where those listen elsewhere now, as after a restart."""
        if self._options.follow:
            await asyncio.gather(*(self._follow(place) for place in places if place.url))

    async def _follow(self, place: Place) -> None:
        found = await address_of(place.url)
        if found is None:
            return
        host, port = found
        if place.server.address not in (f"{host}:{port}", f"[{host}]:{port}"):
            await self._socket.point(self._options.backend, place.name, host, port)


def _in_words(
    wanted: Mapping[str, int], now: Mapping[str, int], off: Mapping[str, int], *, restarted: bool
) -> str:
    text = ""
    if off and restarted:
        listed = ", ".join(f"{name} {now[name]} → {weight}" for name, weight in sorted(off.items()))
        text = f"haproxy has restarted and had forgotten its weights; they were set again: {listed}."
    elif off:
        listed = ", ".join(f"{name} has {now[name]}, not {weight}" for name, weight in sorted(off.items()))
        text = f"Weights were changed by hand and are left so until the next order: {listed}."
    if gone := sorted(set(wanted) - set(now)):
        text = f"{text} Servers that haproxy no longer has: {', '.join(gone)}.".strip()
    return text
