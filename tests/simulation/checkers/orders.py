"""Orders and effects: decided first, done once, never out of order, and not any more when it was stopped."""

from collections.abc import Iterator

from rollout.core.actions import Action
from rollout.core.machine import Trigger
from rollout.core.model import ActionState, Kind, Phase, RegionPhase, Rollout
from rollout.ports import Progress
from tests.simulation.checkers.violation import Checker, Violation, broken
from tests.simulation.history import Added, Arrived, Asked, Changed, Committed, History, Saved, Sent

MOVES = (Kind.DEPLOY, Kind.RESTORE)
_BACK = (Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED)


def s1_one_rollout_changes_a_region(history: History) -> Iterator[Violation]:
    """One unfinished rollout for each service and region changes what runs there."""
    latest: dict[str, Rollout] = {}
    for happened, committed in history.of(Committed):
        rollout = committed.change.rollout
        latest[rollout.id] = rollout
        for region in rollout.regions:
            if not _changes(rollout, region.region):
                continue
            for other in latest.values():
                same = other.release.service == rollout.release.service and other.id != rollout.id
                if same and _changes(other, region.region):
                    yield broken("S1", happened, f"{rollout.id} and {other.id} both change {region.region}")


def _changes(rollout: Rollout, name: str) -> bool:
    region = next((each for each in rollout.regions if each.region == name), None)
    if region is None or rollout.finished or not region.touched:
        return False
    return not (rollout.phase in _BACK and region.phase in (RegionPhase.PASSED, RegionPhase.RESTORED))


def s2_no_effect_without_a_decision(history: History) -> Iterator[Violation]:
    """Whatever is sent was committed before, exactly so."""
    decided: dict[str, Action] = {}
    for happened, what in history.of(Committed, Sent):
        if isinstance(what, Committed):
            decided.update({record.key: record.action for record in what.change.actions})
        elif not what.key.startswith("doubt/") and decided.get(what.key) != what.action:
            known = "something else was decided" if what.key in decided else "nothing was decided"
            yield broken("S2", happened, f"{what.by} sends {what.key} ({what.action.kind}), and {known}")


def s2_one_effect_for_each_key(history: History) -> Iterator[Violation]:
    """A target that remembers keys does each once; no item of work is resumed twice."""
    over: set[tuple[str, str]] = set()  # (region, key) of what another key followed
    newest: dict[tuple[str, str], str] = {}
    resumed: set[tuple[str, str]] = set()
    for happened, changed in history.of(Changed):
        place = (changed.region, changed.service)
        if changed.action.kind in MOVES and changed.region in history.setting.deduping:
            before = newest.get(place)
            if before not in (None, changed.key):
                over.add((changed.region, str(before)))
            if (changed.region, changed.key) in over:
                yield broken("S2", happened, f"{changed.key} takes effect in {changed.region} once more")
            newest[place] = changed.key
        for item in changed.items:
            if (changed.region, item) in resumed:
                yield broken("S2", happened, f"{item} in {changed.region} is resumed twice")
            resumed.add((changed.region, item))


def s2_one_rollout_for_each_request(history: History) -> Iterator[Violation]:
    """A start that is repeated under its key starts one rollout."""
    known: dict[str, str] = {}
    for happened, added in history.of(Added):
        if added.key and known.setdefault(added.key, added.rollout.id) != added.rollout.id:
            text = f"{added.key} started {known[added.key]}, and {added.rollout.id} as well"
            yield broken("S2", happened, text)


def s3_generations_of_decisions_rise(history: History) -> Iterator[Violation]:
    """Every decision about a service in a region has a higher generation than all before it."""
    newest: dict[tuple[str, str], int] = {}
    for happened, committed in history.of(Committed):
        service = committed.change.rollout.release.service
        for region, generation in committed.change.generations.items():
            if generation <= newest.get((service, region), 0):
                text = f"{service} in {region} goes from generation {newest[service, region]} to {generation}"
                yield broken("S3", happened, text)
            newest[service, region] = generation
        for record in committed.change.actions:
            action = record.action
            if action.kind in MOVES and action.generation != newest.get((service, str(action.region))):
                yield broken("S3", happened, f"{record.key} carries {action.generation}, not the newest")


def s3_a_fencing_target_never_goes_back(history: History) -> Iterator[Violation]:
    """Where a target fences, what takes effect has a generation as high as all before it."""
    newest: dict[tuple[str, str], int] = {}
    for happened, changed in history.of(Changed):
        if changed.region not in history.setting.fencing or changed.action.kind not in MOVES:
            continue
        place = (changed.service, changed.region)
        if changed.action.generation < newest.get(place, 0):
            text = (
                f"{changed.key} of generation {changed.action.generation} takes effect after {newest[place]}"
            )
            yield broken("S3", happened, text)
        newest[place] = max(newest.get(place, 0), changed.action.generation)


def s3_no_success_without_an_answer(history: History) -> Iterator[Violation]:
    """What is recorded as done was answered as done: being fenced off, or silence, is not."""
    done: set[str] = set()
    for happened, what in history.of(Arrived, Saved):
        if isinstance(what, Arrived):
            if what.reply is not None and what.reply.progress is Progress.SUCCEEDED:
                done.add(what.key)
        elif (
            what.kept
            and what.record.state is ActionState.SUCCEEDED
            and what.record.action.kind is not Kind.NOTIFY
            and what.record.key not in done
        ):
            yield broken("S3", happened, f"{what.record.key} is recorded as done, and no target said so")


def s8_nothing_goes_forward_after_going_back(history: History) -> Iterator[Violation]:
    """Once a rollback is committed no deploy of that rollout begins."""
    back: set[str] = set()
    for happened, what in history.of(Committed, Sent):
        if isinstance(what, Committed):
            if any(row.to_phase == Phase.ROLLING_BACK for row in what.change.transitions if not row.region):
                back.add(what.change.rollout.id)
        elif what.action.kind is Kind.DEPLOY and what.key.partition("/")[0] in back:
            yield broken("S8", happened, f"{what.by} sends {what.key} after the decision to go back")


def s11_nothing_begins_while_held(history: History) -> Iterator[Violation]:
    """No deploy is sent for the first time while its rollout is held."""
    held: set[str] = set()
    begun: set[str] = set()
    for happened, what in history.of(Committed, Sent):
        if isinstance(what, Committed):
            rollout = what.change.rollout
            (held.add if rollout.phase is Phase.HELD else held.discard)(rollout.id)
        elif what.action.kind is Kind.DEPLOY:
            if what.key.partition("/")[0] in held and what.key not in begun:
                yield broken("S11", happened, f"{what.by} sends {what.key} for the first time while held")
            begun.add(what.key)


def s12_approvals_are_of_others_and_enough(history: History) -> Iterator[Violation]:
    """An approval is given by as many people as asked for, who did not make the release, and said so."""
    said: set[tuple[str, str, str]] = set()
    for happened, what in history.of(Asked, Committed):
        if isinstance(what, Asked):
            intent = what.intent
            said.add((intent.rollout_id, intent.actor, str(intent.details.get("approval"))))
            continue
        rollout = what.change.rollout
        if not any(row.trigger == Trigger.APPROVED for row in what.change.transitions):
            continue
        approval = rollout.answered[-1]
        yes = {given.by for given in approval.decisions if given.decision == "approve"}
        if len(yes) < approval.minimum:
            yield broken("S12", happened, f"{rollout.id} goes on with {len(yes)} of {approval.minimum}")
        if yes & {rollout.created_by, rollout.release.author} and not approval.self_approval:
            yield broken("S12", happened, f"{rollout.id} was approved by who made it: {sorted(yes)}")
        unsaid = [by for by in sorted(yes) if (rollout.id, by, approval.id) not in said]
        if unsaid:
            yield broken("S12", happened, f"{rollout.id} counts {unsaid}, who did not approve {approval.id}")


ALL: tuple[Checker, ...] = (
    s1_one_rollout_changes_a_region,
    s2_no_effect_without_a_decision,
    s2_one_effect_for_each_key,
    s2_one_rollout_for_each_request,
    s3_generations_of_decisions_rise,
    s3_a_fencing_target_never_goes_back,
    s3_no_success_without_an_answer,
    s8_nothing_goes_forward_after_going_back,
    s11_nothing_begins_while_held,
    s12_approvals_are_of_others_and_enough,
)
