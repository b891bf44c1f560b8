"""Given / when / then over the real reconciler, commands, queries and store, with fakes at the edges."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import event

from rollout.commands import Commands, StartRequest
from rollout.config import Configuration, PolicyFile
from rollout.core.model import Phase, Plugin, Region, RegionPhase, Release, Rollout, Service
from rollout.core.policy import Policy
from rollout.core.signals import Signal, SignalKind
from rollout.ports import Ask, Case, Replica, Store
from rollout.possible import Actor
from rollout.queries import Queries
from rollout.reconciler import Reconciler
from rollout.showing.views import RolloutView
from rollout.store import SqlStore, inline, open_store
from rollout.testing import FakePlugins, ManualClock

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
DEPLOYER = Actor(name="pipeline", role="deployer")
DANA = Actor(name="dana", role="approver", groups=("oncall",))
ERIN = Actor(name="erin", role="approver", groups=("oncall",))
ADMIN = Actor(name="root", role="admin")
NAMES = ("R3", "R1", "R2")
SIGNALS = {
    "errors": Signal(name="errors", kind=SignalKind.RATIO, title="failed requests", sources={"scripted": {}}),
    "restarts": Signal(name="restarts", kind=SignalKind.RATE, title="restarts", sources={"scripted": {}}),
}
POLICY = {
    "apiVersion": "rollout/v1",
    "name": "standard",
    "holdback": 25,
    "steps": [{"set_weight": 25}, {"bake": "20s"}, {"set_weight": 75}, {"bake": "20s"}],
    "stages": [{"regions": ["R3"]}, {"regions": ["R1"]}, {"regions": ["R2"]}],
    "checks": [{"signal": "errors"}, {"signal": "restarts"}],
    "judging": {
        "interval": "1s",
        "block": "2s",
        "warmup": "2s",
        "max_age": "5s",
        "min_requests": 50,
    },
    "guards": {"crash_loop": {"restarts": 3, "within": "60s"}, "silence": "15s"},
    "watch": "30s",
    "recovery": {"stalled_after": "10s", "check_every": "2s", "within": "60s"},
    "deadlines": {
        "preflight": "20s",
        "deploy": "20s",
        "collect": "3s",
        "restore": "30s",
        "blind": "20s",
        "queue": "1h",
    },
}
QUICK = {"steps": [{"set_weight": 75}, {"bake": "6s"}]}
ONE = {**QUICK, "stages": [{"regions": ["R3"]}]}  # the shortest way
Health = Mapping[str, tuple[float, float]]  # signal → (value, exposure) each second
HEALTHY: Health = {"errors": (0.0, 50.0), "restarts": (0.0, 4 / 3600)}
FAILING: Health = {"errors": (15.0, 50.0), "restarts": (0.0, 4 / 3600)}


class World:
    """Three regions in memory, one controller, and a clock that a test moves."""

    def __init__(
        self, store: Store, policy: Mapping[str, object] = {}, clock: ManualClock | None = None
    ) -> None:
        self.store = store
        self.clock = clock or ManualClock(START)
        self.health: dict[tuple[str, str], Health] = {}  # (region, version) → numbers; HEALTHY else
        self.silent: set[tuple[str, str]] = set()
        self.plugins = FakePlugins(self.clock, lambda region: lambda ask: self._numbers(region, ask))
        self.configuration = configuration({**POLICY, **policy})
        self.commands = Commands(store, self.clock, lambda: self.configuration)
        self.queries = Queries(
            store,
            self.clock,
            lambda: self.configuration,
            lambda region: self.plugins.deployer(region).supports,
        )
        self.reconciler = self.another_controller()

    def another_controller(self, replica: Replica | None = None) -> Reconciler:
        """A controller that knows only what is in the database, as after a crash, or another replica."""
        return Reconciler(
            store=self.store,
            clock=self.clock,
            configuration=lambda: self.configuration,
            deployer=self.plugins.deployer,
            source=self.plugins.source,
            notifier=self.plugins.notifier,
            collect_s=1.0,
            replica=replica,
        )

    # ------------------------------------------------------------------ given

    async def given_known_good(
        self, version: str = "1.0.0", *, history_s: int = 30, regions: Sequence[str] = ()
    ) -> None:
        """Every region runs `version`, adopted there or in `regions` alone, with some history."""
        for name in NAMES:
            self.plugins.fake_deployer(name).install("mail", version)
        await self.store.put_service(Service(name="mail", policy="standard"))
        await self.run(history_s)
        await self.commands.adopt("mail", ADMIN, "it serves well", regions)

    def given_harm(self, region: str, version: str, health: Health = FAILING) -> None:
        """From now on `version` is bad in `region`."""
        self.health[region, version] = health

    async def given_baking(self, version: str, region: str = "R3", **start: Any) -> str:
        """A rollout of `version` that bakes in `region`, over a known good 1.0.0; its id."""
        await self.given_known_good()
        rollout_id = await self.start(version, **start)
        await self.until_region(rollout_id, region, RegionPhase.BAKING)
        return rollout_id

    async def given_succeeded(self, version: str = "1.1.0") -> str:
        """A rollout of `version` that passed everywhere and is watched; its id."""
        await self.given_known_good()
        rollout_id = await self.start(version)
        await self.until(rollout_id, Phase.SUCCEEDED)
        return rollout_id

    # ------------------------------------------------------------------ when

    async def start(
        self, version: str, *, policy: str | None = None, actor: Actor = DEPLOYER, service: str = "mail"
    ) -> str:
        """A pipeline asks for a release; the id of its rollout."""
        release = Release(service=service, version=version, author="ana")
        return (await self.commands.start(StartRequest(release=release, policy=policy), actor)).id

    async def tick(self) -> None:
        """One look, with every effect answered, and a second passes."""
        await self.reconciler.tick()
        await self.reconciler.settle()
        self.clock.advance(1)

    async def run(self, seconds: int) -> None:
        """Let time pass, a look each second."""
        for _ in range(seconds):
            await self.tick()

    async def until(self, rollout_id: str, *phases: Phase, within: int = 400) -> RolloutView:
        """Let time pass until the rollout is in one of `phases`."""
        for _ in range(within):
            if (await self.rollout(rollout_id)).phase in phases:
                return await self.view(rollout_id)
            await self.tick()
        view = await self.view(rollout_id)
        raise AssertionError(f"still {view.phase} after {within} s: {view.reason.text} {view.blocked_by}")

    async def until_region(self, rollout_id: str, region: str, phase: str, within: int = 400) -> None:
        """Let time pass until a region of the rollout is in `phase`."""
        for _ in range(within):
            case = await self.store.case(rollout_id)
            if case.rollout.region(region).phase == phase:
                return
            await self.tick()
        raise AssertionError(f"{region} never {phase}: {case.rollout.region(region)}")

    # ------------------------------------------------------------------ then

    async def view(self, rollout_id: str) -> RolloutView:
        """What people are shown."""
        return await self.queries.rollout(rollout_id)

    async def case(self, rollout_id: str) -> Case:
        """Everything stored of a rollout."""
        return await self.store.case(rollout_id)

    async def rollout(self, rollout_id: str) -> Rollout:
        """The stored rollout."""
        return (await self.store.case(rollout_id)).rollout

    async def running(self, region: str) -> dict[str, int]:
        """What really runs in a region, by version."""
        counts: dict[str, int] = {}
        for one in await self.plugins.fake_deployer(region).instances("mail"):
            counts[one.version] = counts.get(one.version, 0) + 1
        return counts

    def effects(self, region: str, kind: str) -> list[str]:
        """The versions that effects of one kind brought to a region, in order."""
        done = self.plugins.fake_deployer(region).effects
        return [effect.action.version for effect in done if effect.action.kind == kind]

    def notices(self) -> list[str]:
        """What people were told."""
        return [notice.text for notice in self.plugins.notifier.notices]

    def pages(self) -> list[str]:
        """What woke somebody."""
        return [notice.text for notice in self.plugins.notifier.notices if notice.urgent]

    def _numbers(self, region: str, ask: Ask) -> dict[str, Health]:
        versions = {instance.version for instance in ask.instances}
        return {
            version: self.health.get((region, version), HEALTHY)
            for version in versions
            if (region, version) not in self.silent
        }


def configuration(*policies: Mapping[str, object]) -> Configuration:
    """A configuration of three scripted regions and the given policies."""
    parsed = [Policy.model_validate(policy) for policy in policies]
    return Configuration(
        directory=Path("/nowhere"),
        regions={
            name: Region(
                name=name,
                title=title,
                time_zone="UTC",
                order=order,
                traffic_share=share,
                deployer=Plugin(kind="fake"),
                source=Plugin(kind="scripted"),
            )
            for order, (name, title, share) in enumerate(
                [("R3", "APAC", 0.2), ("R1", "Europe", 0.35), ("R2", "North America", 0.45)], start=1
            )
        },
        policies={
            policy.name: PolicyFile(policy=policy, revision=1, text="", digest="") for policy in parsed
        },
        signals=SIGNALS,
        digest="",
    )


def with_policies(world: World, *policies: Mapping[str, object]) -> None:
    """More policies beside the standard one."""
    more = configuration(POLICY, *({**POLICY, **policy} for policy in policies))
    world.configuration = replace(world.configuration, policies=more.policies)


def new_store(directory: Path, url: str = "") -> SqlStore:
    """A real store on a fresh SQLite file, or on `url`, every call of which can be interleaved.

    It does not wait for the disk: a power cut is not what these tests are about.
    """
    store = open_store(url or f"sqlite:///{directory / 'rollout.db'}", run=inline)
    if url:
        return store
    for engine in (store.database.read, store.database.write):
        event.listen(engine, "connect", _hurry)
        engine.dispose()  # the connections that the migrations left
    return store


def _hurry(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous=OFF")
