"""Whatever people and targets do, in whatever order: what may never happen never does, and it ends.

Each example is a list of small happenings with looks between them. After the last one every fault stops.
"""

import asyncio
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st

from rollout.core.errors import PermanentError, RolloutError
from rollout.core.model import (
    ActionState,
    IntentKind,
    Kind,
    ObligationKind,
    ObligationState,
    Phase,
    RegionPhase,
    Rollout,
    Transition,
)
from rollout.ports import Case
from tests.scenarios.world import ADMIN, DANA, ERIN, HEALTHY, NAMES, Health, World, new_store

SHORT: dict[str, Any] = {
    "steps": [{"set_weight": 75}, {"bake": "3s"}],
    "stages": [{"regions": ["R3"]}, {"regions": ["R1", "R2"]}],
    "judging": {"interval": "1s", "block": "1s", "warmup": "1s", "max_age": "3s", "min_requests": 50},
    "guards": {"success": {"below": 50, "for": "2s"}, "silence": "5s"},
    "watch": "5s",
    "deadlines": {"preflight": "8s", "deploy": "8s", "restore": "10s", "collect": "2s", "blind": "6s"},
    "recovery": {"stalled_after": "10s", "check_every": "1s", "within": "20s"},
}
ASKS = {
    **SHORT,
    "stages": [
        {"regions": ["R3"], "steps": [*SHORT["steps"], {"approval": {"within": "20s"}}]},
        {"regions": ["R1", "R2"]},
    ],
}
GATED = {
    **SHORT,
    "stages": [
        {"regions": ["R3"], "steps": [*SHORT["steps"], {"gate": {"name": "smoke", "within": "20s"}}]},
        {"regions": ["R1", "R2"]},
    ],
}
OBSERVES = {**GATED, "mode": "observe"}
BROKEN: Health = {"errors": (45.0, 50.0), "restarts": HEALTHY["restarts"]}
VERSIONS = ("1.1.0", "1.2.0")
WAITS = (Phase.HELD, Phase.AWAITING_APPROVAL, Phase.ROLLBACK_FAILED, Phase.QUEUED)
WAITS_ON = 30  # looks at one that only observes, and that nobody deploys
SETTLES_IN = 120  # looks without a fault until everything has ended, or waits for somebody by name

regions = st.sampled_from(NAMES)
versions = st.sampled_from(VERSIONS)
happenings = st.one_of(
    st.tuples(st.just("look"), st.integers(1, 9)),
    st.tuples(
        st.sampled_from(["hold", "brief_hold", "resume", "rollback", "cancel", "approve", "reject"]), versions
    ),
    st.tuples(st.sampled_from(["promote", "gate_passed", "gate_failed", "note"]), versions),
    st.tuples(st.just("by_hand"), regions, versions),
    st.tuples(st.just("start"), st.just("1.2.0")),
    st.tuples(st.sampled_from(["harm", "heal", "silence", "speak"]), regions, versions),
    st.tuples(st.sampled_from(["lose", "find"]), regions),
    st.tuples(st.sampled_from(["fail_restore", "fail_deploy", "lose_answer"]), regions),
)


class Play:
    """A world to which things happen, and what was seen of it so far."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ids: dict[str, str] = {}

    async def start(self, version: str) -> None:
        """Ask for a release, once."""
        if version not in self.ids:
            self.ids[version] = await self.world.start(version)

    async def happen(self, what: str, *about: str) -> None:
        """One happening; a command that does not fit is refused, which is fine."""
        if what == "look":
            for _ in range(int(about[0])):
                await self.look()
        elif what == "start":
            await self.start(about[0])
        elif what == "by_hand":
            await self.deploy_by_hand(about[0], about[1])
        elif len(about) == 1 and about[0] in VERSIONS:
            await self.ask(what, self.ids.get(about[0], self.ids["1.1.0"]))
        else:
            self.disturb(what, *about)

    async def ask(self, what: str, rollout_id: str) -> None:
        """What a person says."""
        commands = self.world.commands
        acts: dict[str, Callable[[], object]] = {
            "hold": lambda: commands.hold(rollout_id, DANA, "wait"),
            "brief_hold": lambda: commands.hold(rollout_id, DANA, "wait", for_s=3, then="resume"),
            "resume": lambda: commands.resume(rollout_id, ERIN, "go on"),
            "rollback": lambda: commands.rollback(rollout_id, DANA, "go back"),
            "cancel": lambda: commands.cancel(rollout_id, ADMIN, "stop"),
            "approve": lambda: commands.decide_approval(rollout_id, DANA, IntentKind.APPROVE, "yes"),
            "reject": lambda: commands.decide_approval(rollout_id, DANA, IntentKind.REJECT, "no"),
            "promote": lambda: commands.promote(rollout_id, DANA, "now"),
            "gate_passed": lambda: commands.report_gate(rollout_id, DANA, "smoke", "passed", region="R3"),
            "gate_failed": lambda: commands.report_gate(rollout_id, DANA, "smoke", "failed", region="R3"),
            "note": lambda: commands.note(rollout_id, DANA, "I am looking"),
        }
        try:
            await acts[what]()  # type: ignore[misc]
        except RolloutError:
            return

    def disturb(self, what: str, region: str, version: str = "") -> None:
        """What targets and sources do."""
        world, deployer = self.world, self.world.plugins.fake_deployer(region)
        if what in ("harm", "heal"):
            world.health[region, version] = BROKEN if what == "harm" else HEALTHY
        elif what == "silence":
            world.silent.add((region, version))
        elif what == "speak":
            world.silent.discard((region, version))
        elif what in ("lose", "find"):
            deployer.unreachable = what == "lose"
        elif what == "lose_answer":
            deployer.lose_answer(Kind.RESTORE)
        else:
            kind = Kind.RESTORE if what == "fail_restore" else Kind.DEPLOY
            deployer.fail_next(kind, PermanentError("It cannot be done."))

    async def deploy_by_hand(self, region: str, version: str) -> None:
        """What somebody else deploys beside the known good, where this controller only observes."""
        if self.world.configuration.policies["standard"].policy.mode != "observe":
            return
        known = {each.region: each.known_good for each in await self.world.store.service_regions("mail")}
        good = next(each.release.version for each in known[region] if each.release.version != version)
        self.world.plugins.fake_deployer(region)._arrange("mail", [version] * 2 + [good] * 2)

    async def calm(self, *, helped: bool) -> None:
        """Every fault stops. People do nothing, or answer whatever waits for them."""
        self.world.silent.clear()
        self.world.health.clear()
        for name in NAMES:
            deployer = self.world.plugins.fake_deployer(name)
            deployer.unreachable = False
            deployer._failures.clear()
            deployer._lost.clear()
        observes = self.world.configuration.policies["standard"].policy.mode == "observe"
        for _ in range(WAITS_ON if observes and not helped else SETTLES_IN):
            await self.look(every=10)
            if helped:
                await self.help()
            cases = [await self.world.case(rollout_id) for rollout_id in self.ids.values()]
            if all(case.rollout.next_due_at is None and not case.intents for case in cases):
                return

    async def help(self) -> None:
        """What a person on call does about each rollout that waits."""
        answers = {
            Phase.AWAITING_APPROVAL: "approve",
            Phase.HELD: "resume",
            Phase.ROLLBACK_FAILED: "rollback",
        }
        for rollout_id in self.ids.values():
            rollout = await self.world.rollout(rollout_id)
            if rollout.phase in answers:
                await self.ask(answers[rollout.phase], rollout_id)
            if rollout.gate is not None:
                await self.ask("gate_passed", rollout_id)
            left = (RegionPhase.DEPLOYING, RegionPhase.BAKING)
            for region in (r for r in rollout.regions if r.phase in left and not rollout.finished):
                await self.deploy_by_hand(region.region, rollout.release.version)

    async def look(self, every: int = 3) -> None:
        """One tick, and the invariants."""
        await self.world.tick()
        cases = [await self.world.case(rollout_id) for rollout_id in self.ids.values()]
        then_one_touches_a_region([case.rollout for case in cases])
        for case in cases:
            if self.world.clock.now().second % every == 0:
                await then_history_has_no_gaps(self.world, case)
            then_stages_go_in_order(case)
            then_nothing_promotes_after_the_decision(case)
            await then_back_means_back(self.world, case)
            then_the_target_is_another_version(case)
            then_what_only_observes_touches_nothing(case)


def then_what_only_observes_touches_nothing(case: Case) -> None:
    """Mode observe: it reads and tells, and wakes nobody."""
    if case.plan.observes:
        assert {record.action.kind for record in case.actions} <= {Kind.VERIFY, Kind.NOTIFY}
        told = [r.action.details for r in case.actions if r.action.kind is Kind.NOTIFY]
        assert not any(details["urgent"] for details in told)


def then_one_touches_a_region(rollouts: list[Rollout]) -> None:
    """S1: one unfinished rollout per region changes what runs there."""
    for name in NAMES:
        there = [r.id for r in rollouts if not r.finished and _changes(r, name)]
        assert len(there) <= 1, f"{there} share {name}"


def _changes(rollout: Rollout, name: str) -> bool:
    region = rollout.region(name)
    going_back = rollout.phase in (Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED)
    return region.touched and not (going_back and region.phase is RegionPhase.PASSED)


async def then_history_has_no_gaps(world: World, case: Case) -> None:
    """S13: rows are numbered 1, 2, 3 … and each begins where the one before it ended."""
    rows = [e.transition for e in await world.store.events(rollout_id=case.rollout.id, limit=1000)]
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    for place in {row.region for row in rows}:
        mine: list[Transition] = [row for row in rows if row.region == place]
        assert all(a.to_phase == b.from_phase for a, b in pairwise(mine))


def then_stages_go_in_order(case: Case) -> None:
    """S4: a region is touched only after all of the stages before it passed in this rollout."""
    for region in case.rollout.touched:
        for earlier in (r for r in case.rollout.regions if r.stage < region.stage):
            assert earlier.passed_at is not None, f"{region.region} before {earlier.region}"
            assert region.touched_at is not None
            assert earlier.passed_at <= region.touched_at


def then_nothing_promotes_after_the_decision(case: Case) -> None:
    """S8: no deploy is recorded, or still wanted, after the decision to go back."""
    decided = case.rollout.decided_at
    if decided is None:
        return
    deploys = [r for r in case.actions if r.action.kind is Kind.DEPLOY]
    touched = {r.region for r in case.rollout.regions if r.phase is not RegionPhase.PASSED}
    for record in (r for r in deploys if r.action.region in touched):
        assert record.recorded_at <= decided
        assert record.state is not ActionState.PENDING


async def then_back_means_back(world: World, case: Case) -> None:
    """S9: rolled back is said only when every region that went back really runs its known good."""
    if case.rollout.phase is not Phase.ROLLED_BACK:
        return
    for region in (r for r in case.rollout.touched if r.phase is RegionPhase.RESTORED):
        running = await _running(world, region.region)
        assert case.rollout.release.version not in running
        assert region.back_to is not None


async def _running(world: World, region: str) -> set[str]:
    """What runs, also when nobody can reach it."""
    return {one.version for one in world.plugins.fake_deployer(region)._services["mail"].instances}


def then_the_target_is_another_version(case: Case) -> None:
    """S6: nothing is ever restored to the version under judgement."""
    for record in case.actions:
        if record.action.kind is Kind.RESTORE:
            assert record.action.version != case.rollout.release.version


async def then_it_ended_or_waits_by_name(world: World, rollout_id: str) -> None:
    """L1: whatever has not ended says what it waits for, and what happens next."""
    view = await world.view(rollout_id)
    case = await world.case(rollout_id)
    assert not case.intents, f"never taken in: {case.intents}"
    assert view.reason.text
    assert view.sentence
    if view.finished_at:
        overdue = [o for o in case.obligations if o.state in (ObligationState.OPEN, ObligationState.OVERDUE)]
        assert all(o.kind is ObligationKind.WATCH for o in overdue), overdue
        return
    undeployed = case.plan.observes and view.phase is Phase.PROGRESSING
    assert undeployed or view.phase in WAITS, f"{view.phase} moves no more: {view.reason.text}"
    assert view.blocked_by
    assert view.next is not None
    if view.phase is Phase.ROLLBACK_FAILED:
        assert {r.phase for r in view.regions if r.phase in _LEFT}


_LEFT = (RegionPhase.RESTORE_FAILED,)


@settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Stage.generate,),
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    st.lists(happenings, min_size=3, max_size=14),
    st.sampled_from([SHORT, ASKS, GATED, OBSERVES]),
    st.booleans(),
)
def test_whatever_happens_the_invariants_hold_and_it_ends_or_waits_by_name(
    events: list[tuple[str, ...]], policy: dict[str, Any], helped: bool
) -> None:
    asyncio.run(_play(events, policy, helped=helped))


async def _play(events: list[tuple[str, ...]], policy: dict[str, Any], *, helped: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = new_store(Path(directory))
        try:
            play = Play(World(store, policy))
            await play.world.given_known_good(history_s=2)
            await play.start("1.1.0")
            for what, *about in events:
                await play.happen(what, *about)
                await play.happen("look", "2")
            await play.calm(helped=helped)
            for rollout_id in play.ids.values():
                await then_it_ended_or_waits_by_name(play.world, rollout_id)
                if helped:
                    assert (await play.world.view(rollout_id)).finished_at
        finally:
            store.close()
