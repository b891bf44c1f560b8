"""Going back: to what was good before, and said to be done only where it was read back."""

from collections.abc import Iterator, Mapping

from rollout.core.machine import RegionTrigger
from rollout.core.model import ActionState, Kind, RegionRollout
from rollout.ports import Progress
from tests.simulation.checkers.violation import Checker, Violation, broken
from tests.simulation.history import Adopted, Arrived, Changed, Committed, Happened, History, Saved

Key = tuple[str, str, str]  # service, region, version


def s6_back_to_what_was_good_before(history: History) -> Iterator[Violation]:
    """A restore goes to what was known good there before its rollout touched it, never to what fails."""
    good: dict[Key, int] = {(s, r, v): -1 for (s, r), v in history.setting.known_good.items()}
    adopted: set[Key] = set()
    touched: dict[tuple[str, str], int] = {}
    for happened, what in history.of(Adopted, Committed):
        if isinstance(what, Adopted):
            adopted |= {(k.service, k.region, k.release.version) for k in what.known_good}
            continue
        change, rollout = what.change, what.change.rollout
        for region in rollout.touched:
            touched.setdefault((rollout.id, region.region), happened.n)
        for record in change.actions:
            action = record.action
            if action.kind is not Kind.RESTORE:
                continue
            key = (action.service, str(action.region), action.version)
            began = touched.get((rollout.id, str(action.region)), happened.n)
            if action.version == rollout.release.version:
                yield broken("S6", happened, f"{record.key} restores {action.region} to what fails there")
            elif good.get(key, began) >= began and key not in adopted:
                text = f"{record.key} restores {action.region} to {action.version}, not good there before"
                yield broken("S6", happened, text)
        for known in change.known_good:
            good.setdefault((known.service, known.region, known.release.version), happened.n)
        for known in change.not_good:
            good.pop((known.service, known.region, known.release.version), None)


def s9_phases_are_backed_by_what_ran(history: History) -> Iterator[Violation]:
    """`restored` and `baking` are said on a reading of that region which showed it, newer than the order."""
    read: dict[str, tuple[int, Mapping[str, int]]] = {}  # by key, what ran when it was answered, and when
    shown: dict[tuple[str, str], tuple[int, Mapping[str, int]]] = {}  # saved, by rollout and region
    moved: dict[tuple[str, str], int] = {}
    for happened, what in history.of(Arrived, Changed, Saved, Committed):
        if isinstance(what, Arrived):
            if what.action.kind is Kind.VERIFY and what.reply and what.reply.progress is Progress.SUCCEEDED:
                read[what.key] = (happened.n, what.ran)
        elif isinstance(what, Changed):
            moved[what.service, what.region] = happened.n
        elif isinstance(what, Saved):
            record = what.record
            if what.kept and record.state is ActionState.SUCCEEDED and record.key in read:
                shown[record.rollout_id, str(record.action.region)] = read[record.key]
        else:
            yield from _said(history, happened, what, shown, moved)


def _said(
    history: History,
    happened: Happened,
    committed: Committed,
    shown: Mapping[tuple[str, str], tuple[int, Mapping[str, int]]],
    moved: Mapping[tuple[str, str], int],
) -> Iterator[Violation]:
    rollout = committed.change.rollout
    for row in committed.change.transitions:
        if row.trigger not in (RegionTrigger.RESTORED, RegionTrigger.DEPLOYED):
            continue
        region = rollout.region(str(row.region))
        n, ran = shown.get((rollout.id, region.region), (-1, {}))
        last = moved.get((rollout.release.service, region.region), -1)
        if not _fits(row.trigger, region, rollout.release.version, ran):
            text = f"{region.region} is said to be {row.trigger}, and its reading showed {dict(ran)}"
            yield broken("S9", happened, text)
        elif last > n and region.region in history.setting.fencing:
            text = f"{region.region} is said to be {row.trigger} on a reading from before it changed"
            yield broken("S9", happened, text)


def _fits(trigger: str, region: RegionRollout, version: str, ran: Mapping[str, int]) -> bool:
    good = region.back_to.release.version if region.back_to else ""
    if trigger == RegionTrigger.RESTORED:
        return set(ran) == {good}
    share = 100 * ran.get(version, 0) / max(1, sum(ran.values()))
    return set(ran) <= {version, good} and ran.get(version, 0) > 0 and abs(share - region.weight) <= 25


ALL: tuple[Checker, ...] = (s6_back_to_what_was_good_before, s9_phases_are_backed_by_what_ran)
