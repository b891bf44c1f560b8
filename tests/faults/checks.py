"""What must be true at the end of every case, whatever failed: one pure function over what was found."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from tests.faults.facts import Entry, Facts
from tests.faults.target import FENCES, FIRST, KNOWS_KEYS, MOVES

BAKE_S = 2.0
SLACK_S = 0.05  # between reading back and writing down


def violations(facts: Facts) -> list[str]:
    """Each thing that must not be, in a line."""
    kinds = (_lost, _gaps, _keys, _fences, _order_of_regions, _back, _ends)
    return [line for kind in kinds for line in kind(facts)]


def _lost(facts: Facts) -> Iterator[str]:
    """Nothing that was acknowledged is missing or doubled."""
    for rollout, (service, version, _) in facts.acknowledged.starts.items():
        if facts.rollouts.get(rollout, ("", ""))[:2] != (service, version):
            yield f"{rollout} of {service} {version} was acknowledged, and is not there"
    releases = Counter((service, version) for service, version, *_ in facts.rollouts.values())
    for (service, version), found in releases.items():
        if found > 1:
            yield f"{service} {version} was asked for once and has {found} rollouts"
    for rollout, text in facts.acknowledged.notes:
        times = facts.intents[rollout, text]
        if times != 1:
            yield f"'{text}' for {rollout} was acknowledged once and is there {times} times"


def _gaps(facts: Facts) -> Iterator[str]:
    """History has every number once."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for step in facts.steps:
        numbers[step.rollout].append(step.number)
    for rollout, (_, _, _, transitions) in facts.rollouts.items():
        if numbers[rollout] != list(range(1, transitions + 1)):
            yield f"{rollout}: history is {numbers[rollout]} of {transitions}"


def _keys(facts: Facts) -> Iterator[str]:
    """No effect without a recorded action; one order for each key; one effect where keys are known again."""
    for entry in facts.journal:
        recorded = facts.actions.get(entry.key)
        if recorded is None:
            yield f"{entry.key} ({entry.kind}) reached {entry.region} and was never recorded"
        elif recorded != entry.order:
            yield f"{entry.key} was recorded as {recorded} and ordered as {entry.order}"
    done = Counter((e.key, e.region) for e in facts.journal if e.changed)
    for (key, region), times in done.items():
        if times > 1 and region in KNOWS_KEYS:
            yield f"{key} took effect {times} times in {region}"
    steps: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for entry in facts.journal:
        if entry.kind == "deploy":
            steps[entry.rollout, entry.region, entry.weight, entry.version].add(entry.key)
    for (rollout, region, weight, _), keys in steps.items():
        if len(keys) > 1:
            yield f"{rollout} ordered {weight} % in {region} by {len(keys)} keys: {sorted(keys)}"


def _fences(facts: Facts) -> Iterator[str]:
    """Where generations are a fence, they never fall."""
    highest: dict[tuple[str, str], int] = {}
    for entry in facts.journal:
        place = (entry.region, entry.service)
        if entry.region in FENCES and entry.kind in MOVES and entry.changed:
            if entry.generation < highest.get(place, 0):
                yield f"{entry.key}: generation {entry.generation} after {highest[place]} in {entry.region}"
            highest[place] = max(entry.generation, highest.get(place, 0))


def _order_of_regions(facts: Facts) -> Iterator[str]:
    """A region is touched after the one before it passed, and baked whole by the regions' own clock."""
    passed: set[tuple[str, str]] = set()
    for step in facts.steps:
        before = (
            facts.plans[step.rollout][: facts.plans[step.rollout].index(step.region)] if step.region else []
        )
        if step.to_phase == "deploying" and not passed >= {(step.rollout, region) for region in before}:
            yield f"{step.rollout}: {step.region} is touched, and {before} did not all pass"
        if step.to_phase == "passed" and step.region:
            passed.add((step.rollout, step.region))
    for rollout, plan in facts.plans.items():
        firsts = [_first_deploy(facts, rollout, region) for region in plan]
        for region, one, after in zip(plan, firsts, firsts[1:], strict=False):
            if one and after and after.began - one.at < BAKE_S - SLACK_S:
                yield f"{rollout}: {region} baked {after.began - one.at:.2f} s of {BAKE_S:g} s"


def _first_deploy(facts: Facts, rollout: str, region: str) -> Entry | None:
    found = (
        e for e in facts.journal if (e.rollout, e.region, e.kind) == (rollout, region, "deploy") and e.changed
    )
    return next(found, None)


def _back(facts: Facts) -> Iterator[str]:
    """After a rollback was decided, no deploy is decided; one that was under way is followed by a restore."""
    decided: dict[str, int] = {}
    for step in facts.steps:
        if step.to_phase == "rolling_back":
            decided.setdefault(step.rollout, step.number)
    for key, (kind, *_) in facts.actions.items():
        rollout, number, _ = key.split("/")[:3] if key.count("/") >= 2 else (key, "0", "0")
        if kind == "deploy" and rollout in decided and int(number) > decided[rollout]:
            yield f"{key} is a deploy that was decided after the rollback ({decided[rollout]})"
    went: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in facts.journal:
        if entry.kind in MOVES and entry.changed and entry.rollout in decided:
            went[entry.rollout, entry.region].append(entry)
    for (rollout, region), entries in went.items():
        kinds = [entry.kind for entry in entries]
        if kinds[-1] != "restore":
            yield f"{rollout}: the last order in {region} is {entries[-1].key}, a {kinds[-1]}"
        if region in FENCES and "deploy" in kinds[kinds.index("restore") :]:
            yield f"{rollout}: a deploy after the restore in {region}"


def _ends(facts: Facts) -> Iterator[str]:
    """Every rollout ended as it should, in regions that run what the database says."""
    for rollout, (_, version, ends) in facts.acknowledged.starts.items():
        found = facts.rollouts.get(rollout)
        if found is not None and found[2] != ends:
            yield f"{rollout} of {version} is {found[2]}, and should be {ends}"
    yield from others(facts)


def others(facts: Facts) -> Iterator[str]:
    """Every region that does not run what the database says."""
    for place, believed in facts.believed.items():
        runs = facts.running.get(place, {FIRST: 4})
        if dict(believed) != dict(runs):
            yield f"{place[1]} in {place[0]} runs {dict(runs)}, and the database says {dict(believed)}"
