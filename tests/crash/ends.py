"""What must be true when a story is over, however often a controller died in it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields

from sqlalchemy import func, select

from rollout.core.machine import RegionTrigger
from rollout.core.model import Kind, Phase, RegionPhase
from rollout.ports import Case, Notice
from rollout.store import tables
from rollout.testing import Effect
from tests.crash.life import REGIONS, Life
from tests.scenarios.world import START

ORDERS = (Kind.DEPLOY, Kind.RESTORE, Kind.RESUME_WORK)
SILENCE = (RegionTrigger.UNREACHABLE, RegionTrigger.REACHABLE)
NO_ACTION = ("doubt/",)  # keys of what no rollout decided


@dataclass(frozen=True, kw_only=True)
class Ended:
    """One rollout at its end, without times and ids."""

    version: str
    phase: Phase
    outcome: str
    regions: tuple[tuple[str, RegionPhase, int], ...]
    owed: tuple[tuple[str, str, str], ...]
    history: tuple[tuple[str, tuple[str, ...]], ...]  # region, or "" → its triggers in order


@dataclass(frozen=True, kw_only=True)
class End:
    """What must be the same as if nobody had died."""

    rollouts: tuple[Ended, ...]
    running: tuple[dict[str, int], ...]
    known_good: tuple[tuple[str, ...], ...]
    orders: tuple[tuple[str, ...], ...]  # what each target did in order, repeats with one key counted once
    resumed: tuple[tuple[str, ...], ...]  # work items
    told: tuple[tuple[bool, int], ...]  # urgent → how many notices
    doubted: int
    kept: float  # the sum of what was measured before, as samples or as history

    def other_than(self, expected: "End") -> Iterator[str]:
        """Each difference, in a line."""
        for each in fields(self):
            found, wanted = getattr(self, each.name), getattr(expected, each.name)
            if found != wanted:
                yield f"{each.name}: {found} instead of {wanted}"


async def end_of(life: Life) -> End:
    """The end of a story."""
    regions = {known.region: known for known in await life.store.service_regions("mail")}
    effects = {name: _first_of_each_key(life, name) for name in REGIONS}
    return End(
        rollouts=tuple([await _ended(life, case) for case in await life.cases()]),
        running=tuple([await life.running(name) for name in REGIONS]),
        known_good=tuple(tuple(g.release.version for g in regions[name].known_good) for name in REGIONS),
        orders=tuple(
            tuple(f"{e.action.kind} {e.action.version} {e.action.weight}" for e in found)
            for found in effects.values()
        ),
        resumed=tuple(tuple(sorted(item for e in found for item in e.items)) for found in effects.values()),
        told=tuple(sorted(Counter(notice.urgent for notice in _notices(life)).items())),
        doubted=len(await life.store.doubted()),
        kept=_measured(life) if life.story.keep else 0.0,
    )


async def _ended(life: Life, case: Case) -> Ended:
    rows = [event.transition for event in await life.store.events(rollout_id=case.rollout.id, limit=1000)]
    missed = SILENCE if life.story.loses_answers else ()
    triggers = [(row.trigger, row.region) for row in rows if row.trigger not in missed]
    places = ("", *(region.region for region in case.rollout.regions))
    return Ended(
        version=case.rollout.release.version,
        phase=case.rollout.phase,
        outcome=case.rollout.outcome or "",
        regions=tuple((r.region, r.phase, r.weight) for r in case.rollout.regions),
        owed=tuple(sorted((o.region, o.kind, o.state) for o in case.obligations)),
        history=tuple((p, tuple(t for t, r in triggers if (r or "") == p)) for p in places),
    )


def _notices(life: Life) -> list[Notice]:
    """What people were told; not of silence in a story that loses answers."""
    told = life.plugins.notifier.notices
    return [one for one in told if not (life.story.loses_answers and "does not answer" in one.text)]


def _first_of_each_key(life: Life, region: str) -> list[Effect]:
    found: dict[str, Effect] = {}
    for effect in life.plugins.fake_deployer(region).effects:
        if effect.action.kind in ORDERS:
            found.setdefault(effect.key, effect)
    return list(found.values())


def _measured(life: Life) -> float:
    """What was measured before the story began: every sample counts once, wherever it is kept."""
    sample, mark, block = tables.samples.c, tables.history_marks.c, tables.history.c
    of_it = (mark.service == sample.service, mark.region == sample.region, mark.until >= sample.time)
    fresh = select(func.sum(sample.exposure)).where(
        sample.time < START, ~select(mark.until).where(*of_it).exists()
    )
    past = select(func.sum(block.exposure)).where(block.start < START.timestamp())
    with life.store.database.read.begin() as conn:
        return round(sum(conn.scalar(each) or 0.0 for each in (fresh, past)), 3)


async def wrongs(life: Life) -> list[str]:
    """What must never be, not even for a moment after a kill."""
    cases = await life.cases()
    recorded = {record.key for case in cases for record in case.actions} | life.outside.state.past
    found = [f"{key} has no action" for key in life.outside.state.done() if _alone(key, recorded)]
    for name in REGIONS:
        target = life.plugins.fake_deployer(name)
        counts = Counter((effect.key, effect.action.generation) for effect in target.effects)
        if target.fences:
            found += [f"{name}: {key} took effect {n} times" for (key, _), n in counts.items() if n > 1]
            fenced = [e.action.generation for e in target.effects if e.action.kind in ORDERS[:2]]
            found += [f"{name}: generations {fenced}"] if fenced != sorted(fenced) else []
        items = Counter(item for effect in target.effects for item in effect.items)
        found += [f"{name}: {item} was resumed {n} times" for item, n in items.items() if n > 1]
    for case in cases:
        rows = [event.transition for event in await life.store.events(rollout_id=case.rollout.id, limit=1000)]
        numbers = [row.number for row in rows]
        if numbers != list(range(1, case.rollout.transitions + 1)):
            found.append(f"{case.rollout.id}: history {numbers} of {case.rollout.transitions}")
    return found


def _alone(key: str, recorded: set[str]) -> bool:
    return key not in recorded and not key.startswith(NO_ACTION)
