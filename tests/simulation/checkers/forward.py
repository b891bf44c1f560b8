"""Going forward: stages in order, each with a whole bake on fresh numbers, never more than was ordered."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import floor, isfinite

from rollout.core.machine import RegionTrigger
from rollout.core.model import ActionState, Kind, ObligationKind, ObligationState, RegionRollout
from rollout.core.policy import ApprovalStep, GateStep
from rollout.core.signals import Sample
from tests.simulation.checkers.violation import Checker, Violation, broken
from tests.simulation.given import BAKE_S, MAX_AGE_S, MIN_REQUESTS
from tests.simulation.history import Added, Changed, Committed, Happened, History, Saved, Stored

SLOWER = 0.85  # of a bake, by true time: a clock that makes up for a jump runs a tenth faster
Place = tuple[str, str]  # rollout, region


def s4_stages_go_in_order(history: History) -> Iterator[Violation]:
    """A region is deployed to only after every region of the stages before it passed in this rollout."""
    passed: set[Place] = set()
    for happened, committed in history.of(Committed):
        rollout = committed.change.rollout
        for row in committed.change.transitions:
            if row.trigger == RegionTrigger.BAKE_PASSED:
                passed.add((rollout.id, str(row.region)))
        for record in committed.change.actions:
            if record.action.kind is not Kind.DEPLOY:
                continue
            here = rollout.region(str(record.action.region))
            left = [
                r.region
                for r in rollout.regions
                if r.stage < here.stage and (rollout.id, r.region) not in passed
            ]
            if left:
                yield broken("S4", happened, f"{record.key} is ordered in {here.region} before {left} passed")


def s12_nothing_passes_an_approval_unasked(history: History) -> Iterator[Violation]:
    """Nothing is ordered beyond an approval, or a gate, that was not given."""
    plans = {added.rollout.id: added.plan for _, added in history.of(Added)}
    for happened, committed in history.of(Committed):
        rollout = committed.change.rollout
        for record in committed.change.actions:
            if record.action.kind is not Kind.DEPLOY:
                continue
            here = rollout.region(str(record.action.region))
            for stage, plan in enumerate(plans[rollout.id].stages[: here.stage]):
                for step, wanted in enumerate(plan.steps):
                    asked = isinstance(wanted, ApprovalStep) and (stage, step) not in rollout.approved
                    unmet = isinstance(wanted, GateStep) and not any(
                        g.stage == stage and g.name == wanted.gate and g.status == "passed"
                        for g in rollout.gates
                    )
                    if asked or unmet:
                        text = (
                            f"{record.key} is ordered in {here.region}, and stage {stage} step {step} is open"
                        )
                        yield broken("S12", happened, text)


@dataclass(slots=True)
class _Bake:
    """What was heard since the newest weight was read back in one region."""

    since: float
    requests: dict[str, float] = field(default_factory=dict)  # by version
    newest: dict[str, float] = field(default_factory=dict)


def s5_a_pass_cites_fresh_numbers(history: History) -> Iterator[Violation]:
    """No bake passes without enough finite numbers of both sides, and not long after the last of them."""
    bakes: dict[Place, _Bake] = {}
    services: dict[str, str] = {}
    for happened, what in history.of(Stored, Committed):
        if isinstance(what, Stored):
            for (rollout_id, region), bake in bakes.items():
                if region == what.region and services[rollout_id] == what.service:
                    _hear(bake, happened.at, what.samples)
            continue
        rollout = what.change.rollout
        services[rollout.id] = rollout.release.service
        for row in what.change.transitions:
            place = (rollout.id, str(row.region))
            if row.trigger == RegionTrigger.DEPLOYED:
                bakes[place] = _Bake(since=happened.at)
            elif row.trigger == RegionTrigger.BAKE_PASSED:
                region = rollout.region(str(row.region))
                barriers = bool(rollout.approved or rollout.gates)
                if not region.skipped_by:
                    heard = bakes.get(place, _Bake(since=happened.at))
                    yield from _unproven(happened, region, heard, rollout.release.version, barriers=barriers)


def _hear(bake: _Bake, at: float, samples: tuple[Sample, ...]) -> None:
    for sample in samples:
        if sample.signal == "errors" and isfinite(sample.value) and isfinite(sample.exposure or 0.0):
            bake.requests[sample.version] = bake.requests.get(sample.version, 0.0) + (sample.exposure or 0.0)
            bake.newest[sample.version] = at


def _unproven(
    happened: Happened, region: RegionRollout, bake: _Bake, version: str, *, barriers: bool
) -> Iterator[Violation]:
    good = region.back_to.release.version if region.back_to else ""
    for name, least in ((version, MIN_REQUESTS), (good, 1)):
        if bake.requests.get(name, 0.0) < least:
            text = f"{region.region} passes on {bake.requests.get(name, 0.0):.0f} requests of {name}"
            yield broken("S5", happened, text)
    age = happened.at - bake.newest.get(version, bake.since)
    if age > 2 * MAX_AGE_S and not barriers:
        yield broken("S5", happened, f"{region.region} passes {age:.1f} s after the newest sample")


def s14_no_bake_ends_early(history: History) -> Iterator[Violation]:
    """By true time a bake lasts as long as its plan says, whatever clocks say.

    It begins with the reading that shows the release; who decides may stand still before that is written.
    """
    since: dict[Place, float] = {}
    read: dict[Place, float] = {}
    for happened, committed in history.of(Committed, Saved):
        if isinstance(committed, Saved):
            record = committed.record
            if record.action.kind is Kind.VERIFY and record.state is ActionState.SUCCEEDED and committed.kept:
                read[record.rollout_id, str(record.action.region)] = happened.at
            continue
        rollout = committed.change.rollout
        for row in committed.change.transitions:
            place = (rollout.id, str(row.region))
            if row.trigger == RegionTrigger.DEPLOYED:
                since[place] = read.get(place, happened.at)
            elif row.trigger == RegionTrigger.BAKE_PASSED:
                region = rollout.region(str(row.region))
                lasted = happened.at - since.get(place, happened.at)
                if not region.skipped_by and lasted < SLOWER * BAKE_S:
                    text = f"{region.region} passed its bake of {BAKE_S:g} s after {lasted:.2f} s"
                    yield broken("S14", happened, text)


def s7_known_good_is_earned(history: History) -> Iterator[Violation]:
    """A release becomes known good where it passed; after a bake ended early, when its watch is met."""
    passed: set[Place] = set()
    for happened, committed in history.of(Committed):
        change, rollout = committed.change, committed.change.rollout
        for row in change.transitions:
            if row.trigger == RegionTrigger.BAKE_PASSED:
                passed.add((rollout.id, str(row.region)))
        met = {
            o.region
            for o in change.obligations
            if o.kind is ObligationKind.WATCH and o.state is ObligationState.MET
        }
        for known in change.known_good:
            if known.release != rollout.release or (rollout.id, known.region) not in passed:
                text = f"{known.release.version} becomes known good in {known.region} without a pass there"
                yield broken("S7", happened, text)
            elif rollout.region(known.region).skipped_by and known.region not in met:
                text = f"{known.region} was promoted early, and is known good before its watch was met"
                yield broken("S7", happened, text)


def s10_exposure_is_what_was_ordered(history: History) -> Iterator[Violation]:
    """An unproven version never runs on more places than the highest weight ordered for it."""
    ordered: dict[tuple[str, str, str], int] = {}
    good = {(service, region, version) for (service, region), version in history.setting.known_good.items()}
    for happened, what in history.of(Committed, Changed):
        if isinstance(what, Committed):
            for record in what.change.actions:
                action = record.action
                place = (action.service, str(action.region), action.version)
                if action.kind is Kind.DEPLOY:
                    ordered[place] = max(ordered.get(place, 0), action.weight)
            good |= {(k.service, k.region, k.release.version) for k in what.change.known_good}
            continue
        yield from _exposed(happened, what, ordered, good)


def _exposed(
    happened: Happened,
    changed: Changed,
    ordered: Mapping[tuple[str, str, str], int],
    good: set[tuple[str, str, str]],
) -> Iterator[Violation]:
    total = sum(changed.after.values())
    for version, count in changed.after.items():
        place = (changed.service, changed.region, version)
        most = floor(total * ordered.get(place, 0) / 100 + 0.5)
        if place not in good and count > most:
            text = f"{count} of {total} places of {changed.region} run {version}; ordered were {most}"
            yield broken("S10", happened, text)


ALL: tuple[Checker, ...] = (
    s4_stages_go_in_order,
    s5_a_pass_cites_fresh_numbers,
    s7_known_good_is_earned,
    s10_exposure_is_what_was_ordered,
    s12_nothing_passes_an_approval_unasked,
    s14_no_bake_ends_early,
)
