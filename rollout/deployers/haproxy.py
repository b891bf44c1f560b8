"""Deployer `haproxy`: shares of traffic by the weights of servers, set while haproxy runs.

It splits traffic and starts nothing: another deployer, `through`, starts versions and lists instances. Where
there is none, servers have fixed versions, or say theirs. The share of a version is what the weights of the
servers that run it amount to; the files beside this one hold the parts.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rollout.core.actions import Action, ActionResult
from rollout.core.errors import InvalidInput, OutsideError, PermanentError
from rollout.core.model import Instance, Kind
from rollout.deployers.haproxy_backend import Backend
from rollout.deployers.haproxy_memory import Memory, Wanted
from rollout.deployers.haproxy_options import HaproxyOptions
from rollout.deployers.haproxy_places import Place
from rollout.deployers.haproxy_shares import as_instances, shares, weights_for
from rollout.deployers.haproxy_socket import HEAVIEST, HaproxySocket
from rollout.ports import Deployer, Progress, Reply
from rollout.registry import DEPLOYERS, Surroundings

SPLITS = frozenset({Kind.DEPLOY, Kind.RESTORE, Kind.VERIFY})
LOOK_S = 3.0  # that a look at haproxy may take from a reading of the region
OFF = 0.01  # of all traffic, by which a share may differ from the ordered one and still be read back
UNKNOWN = "unknown"  # in place of a version that nobody can say


@DEPLOYERS.register("haproxy", HaproxyOptions)
class HaproxyDeployer:
    """Orders become weights; what was ordered is kept, and set again when haproxy has forgotten it."""

    fences = True  # as far as this controller's own data directory goes

    def __init__(self, options: HaproxyOptions, surroundings: Surroundings) -> None:
        self._options, self._around = options, surroundings
        self._memory = Memory(surroundings.directory / "haproxy", surroundings.region)
        self._through = self._build_through()
        connection = HaproxySocket(options.socket, options.timeout_s)
        self._backends = {
            name: Backend(name, spot, connection, self._memory, self._through, surroundings)
            for name, spot in options.services.items()
        }
        self.supports = SPLITS | (self._through.supports if self._through else frozenset())
        self._since: dict[str, datetime] = {}

    async def apply(self, key: str, action: Action) -> Reply:
        """Do one order. Raises TransientError and PermanentError as the port says."""
        orders: dict[Kind, Callable[[str, Action], Coroutine[Any, Any, Reply]]] = {
            Kind.DEPLOY: self._deploy,
            Kind.RESTORE: self._restore,
            Kind.VERIFY: self._verify,
        }
        if action.kind in orders:
            return await orders[action.kind](key, action)
        if self._through is None or action.kind not in self.supports:
            known = ", ".join(sorted(self.supports))
            raise PermanentError(f"Deployer 'haproxy' cannot do '{action.kind}' here; it can: {known}.")
        return await self._through.apply(key, action)

    async def instances(self, service: str) -> tuple[Instance, ...]:
        """What `through` lists, whether or not haproxy answers; without it, the servers themselves."""
        backend = self._backend(service)
        if self._through is None:
            await backend.look()
            return tuple(map(self._as_instance, await backend.places()))
        found = await self._through.instances(service)
        try:
            async with asyncio.timeout(LOOK_S):
                await backend.look(found)
        except (OutsideError, TimeoutError) as error:  # users are judged all the same
            backend.tell(f"haproxy could not be looked at: {error or 'no answer in time'}")
        return found

    # ------------------------------------------------------------------ deploy

    async def _deploy(self, key: str, action: Action) -> Reply:
        if not 1 <= action.weight <= 100:
            raise PermanentError(f"A deploy of {action.weight} % is not possible; order 1 to 100 %.")
        backend = self._backend(action.service)
        async with backend.lock:
            wanted = await asyncio.to_thread(self._memory.begin, action.service, key, action)
            await self._hold_back(backend, action, wanted)
        if self._through is not None:
            reply = await self._through.apply(key, action)
            if reply.progress is not Progress.SUCCEEDED:
                async with backend.lock:
                    await self._hold_back(backend, action, backend.wanted(key))
                return reply
        async with backend.lock:
            return await self._split(backend, action, backend.wanted(key))

    async def _hold_back(self, backend: Backend, action: Action, wanted: Wanted) -> None:
        """Let what is being started carry no more than was ordered: it has its weight before it is up.

        Settled is a server that runs the candidate under a weight that was set for it; whatever else does not
        run the good version, soundly, is about to run the candidate.
        """
        places = await backend.places()
        good = {p.name for p in self._rest(action, places) if p.sound}
        old = {name: part.weight for name, part in wanted.servers.items() if part.version == action.version}
        settled = {p.name for p in places if p.version == action.version and old.get(p.name)}
        new = {p.name for p in places} - good - settled
        if action.weight >= 100 or not good or not new:
            return
        own, other = weights_for(action.weight, len(new | settled), len(good))
        weights = dict.fromkeys(new, min([own, *(old[name] for name in settled)]))
        if not settled:
            weights |= dict.fromkeys(good, other)
        await backend.set(wanted, places, weights)

    async def _split(self, backend: Backend, action: Action, wanted: Wanted) -> Reply:
        """Set the ordered share, once haproxy sees the candidate's servers."""
        places = await backend.places()
        ours = [p for p in places if p.version == action.version and p.server.in_service]
        rest = self._rest(action, places)
        taking = [p for p in rest if p.server.in_service]
        if not ours:
            return self._nobody(action, places)
        if late := [p for p in ours if not p.server.up or not p.sound]:
            await backend.follow(late)
            return _running(f"{action.version} is not up everywhere in haproxy: {_listed(late)}")
        if action.weight < 100 and not taking:
            text = f"No server in service could take the other {100 - action.weight} %. {_listed(places)}"
            return _failed(text)
        own, other = weights_for(action.weight, len(ours), len(taking))
        weights = dict.fromkeys((p.name for p in places), 0)
        weights |= dict.fromkeys((p.name for p in rest), other)
        weights |= {p.name: own for p in places if p.version == action.version}
        await backend.set(wanted, places, weights)
        return await self._read_back(
            backend,
            f"Ordered: {action.weight} %. Weights: {own} each of {len(ours)} servers of "
            f"{action.version}, {other} each of {len(taking)} others.",
        )

    def _rest(self, action: Action, places: Sequence[Place]) -> list[Place]:
        """The servers that keep the rest of the traffic; none of them when all is ordered."""
        if action.weight >= 100:
            return []
        keeps = {action.from_version} if action.from_version else {p.version for p in places if p.version}
        return [p for p in places if p.version in keeps - {action.version}]

    def _nobody(self, action: Action, places: Sequence[Place]) -> Reply:
        """Nothing that is in service runs the version: wait for what was started; without `through`, fail."""
        text = f"No server that is in service runs {action.version}. {_listed(places)}"
        return _failed(text) if self._through is None else _running(text)

    # ------------------------------------------------------------------ restore

    async def _restore(self, key: str, action: Action) -> Reply:
        """All traffic to the known good where it is up, then the instances; without haproxy only those."""
        backend = self._backend(action.service)
        async with backend.lock:
            await asyncio.to_thread(self._memory.begin, action.service, key, action)
        trouble = await self._try_all_to(backend, key, action)
        if self._through is not None:
            reply = await self._through.apply(key, action)
            if reply.progress is Progress.FAILED:
                return reply
            trouble = await self._try_all_to(backend, key, action)
            if reply.progress is Progress.RUNNING:
                return _running(f"{reply.result.message} {trouble or ''}".strip())
        if trouble is not None:
            raise trouble
        return await self._restored(backend, action)

    async def _try_all_to(self, backend: Backend, key: str, action: Action) -> OutsideError | None:
        try:
            async with backend.lock:
                await self._all_to(backend, action, backend.wanted(key))
        except OutsideError as error:
            return error
        return None

    async def _all_to(self, backend: Backend, action: Action, wanted: Wanted) -> None:
        """Weight 0 for the others only while a server of the known good can take what they carry."""
        places = await backend.places()
        good = [p for p in places if p.version == action.version and p.sound]
        weights = (
            {p.name: 0 for p in places} if any(p.server.up and p.server.in_service for p in good) else {}
        )
        await backend.set(wanted, places, weights | {p.name: HEAVIEST for p in good})

    async def _restored(self, backend: Backend, action: Action) -> Reply:
        places = await backend.places()
        good = [p for p in places if p.version == action.version and p.server.in_service]
        if not good:
            return self._nobody(action, places)
        if late := [p for p in good if p.sound and not p.server.up]:
            return _running(f"{action.version} is not up everywhere in haproxy: {_listed(late)}")
        return await self._read_back(backend, f"All traffic was ordered to {action.version}.")

    # ------------------------------------------------------------------ reading back

    async def _verify(self, key: str, action: Action) -> Reply:
        backend = self._backend(action.service)
        inner = await self._through.apply(key, action) if self._through is not None else None
        if inner is not None and inner.progress is not Progress.SUCCEEDED:
            return inner
        found = await backend.look()
        wanted = await asyncio.to_thread(self._memory.read, action.service)
        reply = await self._read_back(backend, found, inner.result if inner else None, wanted)
        off = _off(wanted, reply.result.details) if wanted and wanted.generation == action.generation else ""
        return _failed(f"{off} {reply.result.message}", reply.result.details) if off else reply

    async def _read_back(
        self, backend: Backend, said: str, inner: ActionResult | None = None, wanted: Wanted | None = None
    ) -> Reply:
        """What carries traffic, in whole servers; `inner` is what `through` has read back."""
        places = await backend.places()
        asked = await backend.weights(places)
        carried = [
            (_version(p, inner), weight if p.server.up and p.server.in_service else 0)
            for p, weight in zip(places, asked, strict=True)
        ]
        parts = shares(carried)
        seen = [wanted.generation] if wanted else []
        seen += [inner.details["generation"]] if inner and "generation" in inner.details else []
        details = {
            "share": {version: round(part, 4) for version, part in parts.items()},
            "servers": {
                p.name: {"version": p.version, "weight": weight, "status": p.server.status}
                for p, weight in zip(places, asked, strict=True)
            },
            **({"instances": dict(inner.running)} if inner else {}),
            **({"generation": max(seen)} if seen else {}),
        }
        shown = ", ".join(f"{part:.1%} {version}" for version, part in sorted(parts.items()))
        message = f"Traffic: {shown or 'no server is up'}. {said}".strip()
        running = as_instances(parts, sum(1 for _, weight in carried if weight))
        result = ActionResult(message=message, running=running, details=details)
        return Reply(progress=Progress.SUCCEEDED, result=result)

    # ------------------------------------------------------------------ what every order needs

    def _build_through(self) -> Deployer | None:
        if self._options.through is None:
            return None
        built = self._around.deployer(self._options.through.kind, self._options.through.options)
        if missing := sorted(SPLITS - built.supports):
            raise InvalidInput(
                f"Deployer 'haproxy' cannot work through '{self._options.through.kind}' as it is set: that "
                f"has no {', '.join(missing)}."
            )
        return built

    def _backend(self, service: str) -> Backend:
        try:
            return self._backends[service]
        except KeyError:
            known = ", ".join(sorted(self._backends))
            raise PermanentError(
                f"Region {self._around.region} has no backend for service '{service}'; known: {known}. "
                "Add it to the options of the region's deployer."
            ) from None

    def _as_instance(self, place: Place) -> Instance:
        """A server as an instance, since its status changed; haproxy says that to the second only."""
        since = self._around.clock.now() - timedelta(seconds=place.server.since_s)
        before = self._since.get(place.name)
        if before is None or abs((since - before).total_seconds()) > 2:
            self._since[place.name] = since
        return Instance(
            id=place.name,
            version=place.version or UNKNOWN,
            url=place.url or f"http://{place.server.address}",
            started_at=self._since[place.name],
            healthy=place.server.up and bool(place.version),
        )


def _version(place: Place, inner: ActionResult | None) -> str:
    """The version behind a server, where it is known and `through` has read it back."""
    if inner is not None and place.version not in inner.running:
        return UNKNOWN
    return place.version or UNKNOWN


def _off(wanted: Wanted, found: Mapping[str, Any]) -> str:
    """How far weights are from what was ordered though nobody ordered it; servers that are down count too."""
    if wanted.weight >= 100:
        return ""
    out = {"MAINT", "DRAIN"}
    has = shares(
        (one["version"], one["weight"])
        for one in found["servers"].values()
        if one["status"].split(" ")[0] not in out
    ).get(wanted.version, 0.0)
    if abs(has - wanted.weight / 100) <= max(OFF, _stated(wanted)):
        return ""
    return f"The weights give {wanted.version} {has:.1%} of the traffic, and {wanted.weight} % was ordered."


def _stated(wanted: Wanted) -> float:
    """The error that rounding has left when the weights were set."""
    meant = shares((part.version, part.weight) for part in wanted.servers.values())
    return abs(meant.get(wanted.version, 0.0) - wanted.weight / 100) + 0.001


def _listed(places: Sequence[Place]) -> str:
    return "; ".join(map(str, places[:8])) + ("; …" if len(places) > 8 else ".") if places else "No server."


def _running(message: str) -> Reply:
    return Reply(progress=Progress.RUNNING, result=ActionResult(message=message))


def _failed(message: str, details: Mapping[str, Any] | None = None) -> Reply:
    result = ActionResult(message=message, details=details or {})
    return Reply(progress=Progress.FAILED, result=result)
