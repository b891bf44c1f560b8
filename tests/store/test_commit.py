from dataclasses import replace

import pytest

from rollout.core.errors import Conflict, NotFound, StaleWrite
from rollout.core.model import ActionState, Outcome, Phase, RegionPhase, Rollout
from rollout.ports import Change
from rollout.store import SqlStore
from tests.store.builders import (
    T0,
    action,
    at,
    evidence,
    intent,
    known_good,
    obligation,
    plan,
    rollout,
    service,
    touched,
    transition,
)


async def added(store: SqlStore, rollout_id: str = "ro_01", **more: object) -> Rollout:
    await store.add(rollout(rollout_id, **more), plan(), transition(1, rollout_id))
    return (await store.case(rollout_id)).rollout


async def test_a_commit_writes_the_rollout_and_raises_its_version(store: SqlStore) -> None:
    found = await added(store)
    regions = (replace(found.regions[0], phase=RegionPhase.BAKING, weight=25), *found.regions[1:])
    wanted = replace(found, phase=Phase.PROGRESSING, regions=regions, note="on", next_due_at=at(30))
    stored = await store.commit(Change(rollout=wanted, transitions=(transition(2),)))
    assert stored == replace(wanted, version=1, transitions=2)
    assert (await store.case("ro_01")).rollout == stored


async def test_a_commit_on_an_old_version_changes_nothing(store: SqlStore) -> None:
    found = await added(store)
    await store.commit(Change(rollout=replace(found, note="first")))
    late = Change(
        rollout=replace(found, note="late"),
        transitions=(transition(2),),
        actions=(action("ro_01/2/0"),),
        evidence={"R3": evidence()},
    )
    with pytest.raises(StaleWrite, match="version 0"):
        await store.commit(late)
    case = await store.case("ro_01")
    assert (case.rollout.note, case.actions, case.evidence) == ("first", (), {})
    assert len(await store.events()) == 1


async def test_a_commit_of_nothing_known_is_not_found(store: SqlStore) -> None:
    with pytest.raises(NotFound):
        await store.commit(Change(rollout=rollout()))


async def test_history_has_no_gaps(store: SqlStore) -> None:
    found = await added(store)
    with pytest.raises(AssertionError, match=r"goes on with \[2\], not \[3\]"):
        await store.commit(Change(rollout=found, transitions=(transition(3),)))
    assert (await store.case("ro_01")).rollout == found


async def test_dropped_actions_are_those_still_pending(store: SqlStore) -> None:
    found = await added(store)
    found = await store.commit(Change(rollout=found, actions=(action("a"), action("b"), action("c"))))
    await store.save_action(action("a", state=ActionState.SUCCEEDED, ended_at=at(1)))
    await store.commit(Change(rollout=found, transitions=(transition(2),), drop_actions=("a", "b")))
    states = {record.key: record.state for record in (await store.case("ro_01")).actions}
    assert states == {"a": ActionState.SUCCEEDED, "b": ActionState.DROPPED, "c": ActionState.PENDING}


async def test_an_action_key_can_be_recorded_only_once(store: SqlStore) -> None:
    found = await added(store)
    found = await store.commit(Change(rollout=found, actions=(action("a"),)))
    with pytest.raises(Conflict, match="does not fit"):
        await store.commit(Change(rollout=replace(found, note="x"), actions=(action("a"),)))
    assert (await store.case("ro_01")).rollout.note == ""


async def test_intents_that_were_acted_on_do_not_come_back(store: SqlStore) -> None:
    await added(store)
    await store.ask(intent("in_1"))
    await store.ask(intent("in_2"))
    await store.commit(Change(rollout=(await store.case("ro_01")).rollout, intents_done=("in_1",)))
    assert [found.id for found in (await store.case("ro_01")).intents] == ["in_2"]


async def test_an_intent_for_another_rollout_wakes_it(store: SqlStore) -> None:
    await added(store, next_due_at=None)
    newer = await added(store, "ro_02")
    await store.commit(Change(rollout=newer, intents_new=(intent("in_s", "ro_01", at=at(7)),)))
    case = await store.case("ro_01")
    assert (case.rollout.next_due_at, [found.id for found in case.intents]) == (at(7), ["in_s"])


async def test_what_was_asked_while_deciding_is_looked_at_at_once(store: SqlStore) -> None:
    found = await added(store)
    await store.ask(intent(at=at(2)))
    stored = await store.commit(Change(rollout=replace(found, next_due_at=at(600))))
    assert await store.due(at(2), 10) == ("ro_01",)
    again = (await store.case("ro_01")).rollout
    assert again.version == stored.version == 1
    await store.commit(Change(rollout=replace(again, next_due_at=at(600)), intents_done=("in_1",)))
    assert await store.due(at(599), 10) == ()


async def test_a_second_commit_without_reading_again_loses_no_wake_up(store: SqlStore) -> None:
    found = await added(store)
    await store.ask(intent(at=at(2)))
    stored = await store.commit(Change(rollout=replace(found, next_due_at=None)))
    await store.commit(Change(rollout=replace(stored, next_due_at=at(600))))
    assert await store.due(at(2), 10) == ("ro_01",)


async def test_obligations_and_evidence_are_replaced_by_their_keys(store: SqlStore) -> None:
    found = await added(store)
    first = Change(
        rollout=found, obligations=(obligation(),), evidence={"R3": evidence(), "R1": evidence("R1")}
    )
    found = await store.commit(first)
    later = obligation(progress={"stalled": 0}, ended_at=at(9), state="met")
    await store.commit(Change(rollout=found, obligations=(later,), evidence={"R3": evidence(seen=99)}))
    case = await store.case("ro_01")
    assert case.obligations == (later,)
    assert case.evidence == {"R3": evidence(seen=99), "R1": evidence("R1")}


async def test_evidence_of_an_older_program_is_left_out_so_that_it_is_begun_anew(store: SqlStore) -> None:
    found = await added(store)
    old = replace(evidence(), checks={"errors": {"phi": 1.5, "logs": {"split": [0.1]}}})
    await store.commit(Change(rollout=found, evidence={"R3": old, "R1": evidence("R1")}))
    case = await store.case("ro_01")
    assert case.evidence == {"R1": evidence("R1")}


async def test_a_region_of_a_service_is_claimed_by_one_rollout(store: SqlStore) -> None:
    await store.commit(Change(rollout=await added(store), claim=("R3", "R1")))
    second = await added(store, "ro_02")
    with pytest.raises(Conflict, match="R3 is held by rollout 'ro_01'") as refused:
        await store.commit(Change(rollout=replace(second, note="x"), claim=("R2", "R3")))
    assert refused.value.code == "region-busy"
    assert (await store.case("ro_02")).rollout == second
    await store.commit(Change(rollout=second, claim=("R2",)))


async def test_another_service_may_claim_the_same_region(store: SqlStore) -> None:
    await store.commit(Change(rollout=await added(store), claim=("R3",)))
    other = replace(rollout().release, service="billing")
    await store.commit(Change(rollout=await added(store, "ro_02", release=other), claim=("R3",)))


async def test_claiming_what_one_already_holds_is_fine(store: SqlStore) -> None:
    found = await store.commit(Change(rollout=await added(store), claim=("R3",)))
    await store.commit(Change(rollout=found, claim=("R3", "R1")))


@pytest.mark.parametrize("phase", [Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.CANCELED, Phase.QUEUED])
async def test_a_finished_or_queued_rollout_holds_no_region(store: SqlStore, phase: Phase) -> None:
    found = await store.commit(Change(rollout=await added(store), claim=("R3", "R1", "R2")))
    await store.commit(Change(rollout=replace(found, phase=phase), claim=("R3",)))
    await store.commit(Change(rollout=await added(store, "ro_02"), claim=("R3", "R1", "R2")))


async def test_a_failed_rollback_keeps_its_regions(store: SqlStore) -> None:
    found = await store.commit(Change(rollout=await added(store), claim=("R3",)))
    await store.commit(Change(rollout=replace(found, phase=Phase.ROLLBACK_FAILED)))
    with pytest.raises(Conflict, match="ro_01"):
        await store.commit(Change(rollout=await added(store, "ro_02"), claim=("R3",)))


async def test_a_rollback_takes_a_region_that_its_holder_has_not_touched(store: SqlStore) -> None:
    newer = touched(await added(store, "ro_02"), "R1")
    await store.commit(Change(rollout=newer, claim=("R3", "R1")))
    old = replace(await added(store, phase=Phase.SUCCEEDED), phase=Phase.ROLLING_BACK)
    stored = await store.commit(Change(rollout=old, claim=("R3",)))
    with pytest.raises(Conflict, match="R1 is held by rollout 'ro_02'"):
        await store.commit(Change(rollout=stored, claim=("R1",)))


async def test_a_claim_must_name_a_region_of_the_rollout(store: SqlStore) -> None:
    with pytest.raises(AssertionError, match="does not have"):
        await store.commit(Change(rollout=await added(store), claim=("R9",)))


async def test_generations_only_rise(store: SqlStore) -> None:
    found = await store.commit(Change(rollout=await added(store), generations={"R3": 5}))
    for old in (5, 4):
        with pytest.raises(StaleWrite, match="generation 5"):
            await store.commit(Change(rollout=replace(found, note="x"), generations={"R3": old}))
    await store.commit(Change(rollout=found, generations={"R3": 6, "R1": 1}))
    regions = await store.service_regions("mail-sender")
    assert {pair.region: pair.generation for pair in regions} == {"R3": 6, "R1": 1}


async def test_two_known_good_versions_are_left_when_the_newest_is_revoked(store: SqlStore) -> None:
    found = await added(store)
    for version in ("1.0", "2.0", "3.0", "4.0", "3.0"):
        found = await store.commit(Change(rollout=found, known_good=(known_good(version),)))
    (pair,) = await store.service_regions("mail-sender")
    assert pair.known_good == (known_good("3.0"), known_good("4.0"), known_good("2.0"))


async def test_what_is_not_good_any_more_is_forgotten(store: SqlStore) -> None:
    found = await store.commit(Change(rollout=await added(store), known_good=(known_good("1.0"),)))
    found = await store.commit(Change(rollout=found, known_good=(known_good("2.0", since=at(1)),)))
    await store.commit(Change(rollout=found, not_good=(known_good("2.0"),)))
    (pair,) = await store.service_regions("mail-sender")
    assert pair.known_good == (known_good("1.0"),)


async def test_a_rolled_back_version_is_remembered_and_stops_the_service(store: SqlStore) -> None:
    await store.put_service(service())
    found = replace(await added(store), phase=Phase.ROLLING_BACK, ending=Outcome.ROLLED_BACK)
    await store.commit(Change(rollout=found, transitions=(transition(2),), rolled_back=True))
    assert await store.was_rolled_back("mail-sender", "2.5.0") == "ro_01"
    assert await store.was_rolled_back("mail-sender", "2.4.1") is None
    stopped = await store.service("mail-sender")
    assert (stopped.stopped_by, stopped.stopped_at) == ("ro_01", transition(2).at)


async def test_a_rollback_of_an_undeclared_service_is_not_refused(store: SqlStore) -> None:
    await store.commit(Change(rollout=await added(store), rolled_back=True))
    assert await store.was_rolled_back("mail-sender", "2.5.0") == "ro_01"


async def test_what_was_read_back_reaches_the_service_unless_something_newer_is_known(
    store: SqlStore,
) -> None:
    found = await added(store)

    async def read_back(version: str, seconds: float) -> dict[str, int]:
        nonlocal found
        seen = replace(found.regions[0], running={version: 4}, running_at=at(seconds))
        found = await store.commit(Change(rollout=replace(found, regions=(seen, *found.regions[1:]))))
        (pair,) = await store.service_regions("mail-sender")
        return dict(pair.running)

    assert await read_back("2.5.0", 10) == {"2.5.0": 4}
    assert await read_back("2.4.1", 5) == {"2.5.0": 4}
    assert await read_back("2.4.1", 11) == {"2.4.1": 4}


async def test_times_without_a_zone_are_refused(store: SqlStore) -> None:
    found = await added(store)
    with pytest.raises(Exception, match="has no time zone"):
        await store.commit(Change(rollout=replace(found, since=T0.replace(tzinfo=None))))
