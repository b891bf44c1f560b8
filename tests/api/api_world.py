"""A controller with real parts on a database file of its own, rollouts in any phase, tokens of any role."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from api.app import create_app
from rollout.access import Access
from rollout.bootstrap import Controller
from rollout.commands import Commands, compile_for
from rollout.config import ConfigurationFiles
from rollout.core.model import (
    Approval,
    KnownGood,
    Phase,
    Reason,
    RegionPhase,
    RegionRollout,
    Release,
    Rollout,
    Service,
    Transition,
)
from rollout.core.signals import Sample
from rollout.looking import Looking
from rollout.ports import Keep, Observed, Store, Token
from rollout.queries import Queries
from rollout.reconciler import Reconciler
from rollout.schedule import Heartbeat
from rollout.settings import load_settings
from rollout.store import SqlStore, inline, open_store
from rollout.tail import Tail
from rollout.testing import FakePlugins, ManualClock, RecordingNotifier

T0 = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
REPOSITORY = Path(__file__).parents[2]
OURS, THEIRS = "mail-sender", "billing"
ROLES = ("viewer", "deployer", "approver", "admin")


def _unused(*_: object) -> Any:
    raise AssertionError("the API asks no plugin")


@dataclass
class World:
    """What a test works with."""

    controller: Controller
    clock: ManualClock
    app: FastAPI

    @property
    def store(self) -> Store:
        return self.controller.store

    async def token(self, role: str = "admin", name: str = "", **more: Any) -> tuple[Token, str]:
        return await self.controller.access.create_token(name or f"{role}-token", role, **more)

    async def client(self, role: str | None = "admin", name: str = "", **more: Any) -> httpx.AsyncClient:
        """A client with a new token of `role`, or without any."""
        headers = {}
        if role is not None:
            _, secret = await self.token(role, name, **more)
            headers["authorization"] = f"Bearer {secret}"
        return self.http(headers)

    def http(self, headers: Mapping[str, str] | None = None) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url="http://testserver", headers=headers)

    async def put(self, rollout_id: str, service: str = OURS, **more: Any) -> Rollout:
        """Store a rollout in any phase, as the reconciler would have left it."""
        plan = compile_for(self.controller.files.current, await self.store.service(service), "standard")
        places = {name: i for i, stage in enumerate(plan.stages) for name in stage.regions}
        given: dict[str, Any] = {
            "release": Release(service=service, version="2.5.0", author="ann"),
            "phase": Phase.QUEUED,
            "created_by": "ci",
            "next_due_at": T0,
            "reason": Reason(code="started", text="ci asked for it."),
            "regions": tuple(RegionRollout(region=name, stage=i, since=T0) for name, i in places.items()),
        }
        rollout = Rollout(
            id=rollout_id,
            policy=plan.policy,
            policy_revision=plan.revision,
            since=T0,
            created_at=self.clock.now(),
            transitions=1,
            **{**given, **more},
        )
        first = Transition(
            rollout_id=rollout_id,
            number=1,
            at=T0,
            region=None,
            from_phase="",
            to_phase=rollout.phase,
            trigger="start",
            actor="ci",
            reason=rollout.reason,
        )
        await self.store.add(rollout, plan, first)
        self.clock.advance(1)
        return rollout

    async def put_awaiting(self, rollout_id: str = "ro_WAITS", **more: Any) -> Rollout:
        """A rollout that waits for an approval, with R3 touched."""
        approval = Approval(
            id=f"ap_{rollout_id.removeprefix('ro_')}-2",
            stage=0,
            step=0,
            minimum=1,
            groups=(),
            self_approval=False,
            asked_at=T0,
            deadline=T0 + timedelta(hours=4),
        )
        return await self.put(
            rollout_id, phase=Phase.AWAITING_APPROVAL, approval=approval, regions=touched(), **more
        )

    async def put_running(self, versions: Mapping[str, Mapping[str, int]], service: str = OURS) -> None:
        """What was read back, region by region."""
        for region, running in versions.items():
            seen = Observed(service=service, region=region, collected_at=T0)
            await self.store.save_reading(seen, (), running)

    async def put_served(self, region: str, *, failed: float, requests: float) -> None:
        """An hour of 2.4.1 in a region, up to now, with so many failed requests a minute."""
        now = self.clock.now()
        samples = [
            Sample(
                time=now - timedelta(minutes=minute),
                region=region,
                version="2.4.1",
                signal="errors",
                value=failed,
                exposure=requests,
                duration_s=60.0,
            )
            for minute in reversed(range(60))
        ]
        seen = Observed(service=OURS, region=region, collected_at=now)
        await self.store.save_reading(seen, samples, {"2.4.1": 4})


def touched() -> tuple[RegionRollout, ...]:
    """R3 bakes; R1 and R2 wait."""
    good = KnownGood(
        service=OURS,
        region="R3",
        release=Release(service=OURS, version="2.4.1"),
        since=T0,
        how="adopted",
        by="ann",
    )
    r3 = RegionRollout(region="R3", stage=0, since=T0, phase=RegionPhase.BAKING, touched_at=T0, back_to=good)
    return (r3, *(RegionRollout(region=name, stage=i, since=T0) for i, name in ((1, "R1"), (2, "R2"))))


def open_world(directory: Path, *, in_place: bool = True) -> tuple[World, SqlStore]:
    """Wire everything as rollout/bootstrap.py does, with a clock that stands still and no plugin."""
    clock = ManualClock(T0)
    settings = load_settings(config=REPOSITORY, data=directory)
    store = open_store(settings.database_url, run=inline if in_place else None)
    files = ConfigurationFiles(settings.config, clock)
    reconciler = Reconciler(
        store=store,
        clock=clock,
        configuration=lambda: files.current,
        deployer=_unused,
        source=_unused,
        notifier=RecordingNotifier(),
        collect_s=10,
        keep=Keep(raw_s=3600),
    )
    plugins = FakePlugins(clock)
    heartbeat = Heartbeat(reconciler, files, clock, tick_s=1)
    heartbeat.last_tick = T0
    controller = Controller(
        settings=settings,
        store=store,
        clock=clock,
        files=files,
        access=Access(store, clock),
        commands=Commands(store, clock, lambda: files.current),
        queries=Queries(store, clock, lambda: files.current),
        looking=Looking(store, clock, lambda: files.current, plugins.deployer, plugins.source),
        reconciler=reconciler,
        heartbeat=heartbeat,
        tail=Tail(store.newest_sequence, look_s=0.05),
    )
    store.wrote = controller.tail.ring
    return World(controller=controller, clock=clock, app=create_app(controller)), store


async def declare(world: World) -> None:
    """Two services, of which narrowed tokens see one."""
    for name in (OURS, THEIRS):
        await world.store.put_service(Service(name=name, policy="standard", owners=("ann",)))


def with_store(world: World, store: Any) -> FastAPI:
    """The same controller over another store."""
    clock, files = world.clock, world.controller.files
    return create_app(
        replace(
            world.controller,
            store=store,
            access=Access(store, clock),
            commands=Commands(store, clock, lambda: files.current),
            queries=Queries(store, clock, lambda: files.current),
        )
    )
