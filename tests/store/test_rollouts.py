from dataclasses import replace

import pytest

from rollout.core.errors import Conflict, NotFound
from rollout.core.model import Approval, ApprovalDecision, Hold, Outcome, Phase
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
    reason,
    region,
    release,
    rollout,
    transition,
)


async def add(store: SqlStore, rollout_id: str = "ro_01", **more: object) -> None:
    await store.add(rollout(rollout_id, **more), plan(), transition(1, rollout_id))


async def test_a_rollout_comes_back_as_it_was_added_with_every_field_set(store: SqlStore) -> None:
    approval = Approval(
        stage=1,
        step=2,
        minimum=2,
        groups=("mail",),
        self_approval=False,
        asked_at=T0,
        deadline=at(60),
        decisions=(ApprovalDecision(by="bo", decision="approve", reason="ok", at=at(3)),),
    )
    place = region(
        "R3",
        phase="baking",
        weight=25,
        touched_at=at(1),
        back_to=known_good(),
        tried=("2.4.0",),
        generation=4,
        running={"2.5.0": 1, "2.4.1": 3},
        running_at=at(2),
        bake_started_at=at(2),
        rehearsed=True,
    )
    full = rollout(
        phase=Phase.HELD,
        regions=(),
        note="a note",
        override="fixed since",
        hold=Hold(owner="ann", reason="lunch", since=T0, until=at(9), then="resume"),
        approval=approval,
        approved=((0, 2), (1, 2)),
        ending=Outcome.ROLLED_BACK,
        outcome=Outcome.ABORTED,
        reason=reason(value=0.2, baseline=0.01, limit=float("inf"), since=at(1)),
        harm_since=at(1),
        decided_at=at(2),
        finished_at=at(3),
    )
    full = replace(full, regions=(place, region("R1", 1)))
    await store.add(full, plan(), transition(1))
    assert (await store.case("ro_01")).rollout == full


async def test_every_kind_of_field_of_a_plan_comes_back(store: SqlStore) -> None:
    await add(store)
    found = (await store.case("ro_01")).plan
    assert found == plan()
    assert [type(step) for step in found.stages[0].steps] == [type(step) for step in plan().stages[0].steps]


async def test_a_case_holds_everything_that_a_decision_needs(store: SqlStore) -> None:
    await add(store)
    await store.ask(intent("in_2", at=at(9)))
    await store.ask(intent("in_1", at=at(5)))
    wanted = Change(
        rollout=(await store.case("ro_01")).rollout,
        actions=(action("ro_01/1/0"), action("ro_01/1/1")),
        obligations=(obligation(),),
        evidence={"R3": evidence()},
    )
    await store.commit(wanted)
    case = await store.case("ro_01")
    assert [found.id for found in case.intents] == ["in_1", "in_2"]
    assert case.actions == wanted.actions
    assert case.obligations == wanted.obligations
    assert case.evidence == wanted.evidence


async def test_a_case_holds_the_newest_400_actions_oldest_first(store: SqlStore) -> None:
    await add(store)
    many = tuple(action(f"ro_01/1/{index}") for index in range(405))
    await store.commit(Change(rollout=(await store.case("ro_01")).rollout, actions=many))
    assert (await store.case("ro_01")).actions == many[5:]


async def test_a_case_of_nothing_is_not_found(store: SqlStore) -> None:
    with pytest.raises(NotFound, match="no rollout 'ro_99'"):
        await store.case("ro_99")


async def test_an_id_cannot_be_added_twice(store: SqlStore) -> None:
    await add(store)
    with pytest.raises(Conflict, match="already a rollout 'ro_01'"):
        await add(store)


async def test_history_begins_with_one(store: SqlStore) -> None:
    with pytest.raises(AssertionError, match="begins with 1"):
        await store.add(rollout(), plan(), transition(2))
    assert await store.rollouts() == ()


async def test_intents_added_with_a_rollout_reach_another_one(store: SqlStore) -> None:
    await add(store, next_due_at=None)
    newer = rollout("ro_02", created_at=at(1))
    await store.add(newer, plan(), transition(1, "ro_02"), [intent("in_s", "ro_01", kind="supersede")])
    case = await store.case("ro_01")
    assert [found.id for found in case.intents] == ["in_s"]
    assert case.rollout.next_due_at == at(5)


async def test_due_lists_the_longest_overdue_first_and_nothing_of_the_future(store: SqlStore) -> None:
    await add(store, "ro_01", next_due_at=at(20))
    await add(store, "ro_02", next_due_at=at(10))
    await add(store, "ro_03", next_due_at=at(21))
    await add(store, "ro_04", next_due_at=None)
    assert await store.due(at(20), 10) == ("ro_02", "ro_01")
    assert await store.due(at(20), 1) == ("ro_02",)


async def test_an_id_is_found_by_a_unique_prefix(store: SqlStore) -> None:
    for name in ("ro_A1", "ro_A2", "ro_B1", "ro_B1x"):
        await add(store, name)
    assert await store.find("ro_A1") == "ro_A1"
    assert await store.find("ro_B1") == "ro_B1", "a whole id wins over a longer one"
    with pytest.raises(Conflict, match="ro_A1, ro_A2"):
        await store.find("ro_A")
    for unknown in ("ro_a1", "ro_%", "", "x"):
        with pytest.raises(NotFound):
            await store.find(unknown)


async def test_rollouts_are_listed_newest_first_in_pages(store: SqlStore) -> None:
    for index in range(5):
        await add(store, f"ro_{index}", created_at=at(index // 2))
    assert [found.id for found in await store.rollouts(limit=2)] == ["ro_4", "ro_3"]
    assert [found.id for found in await store.rollouts(limit=2, before="ro_3")] == ["ro_2", "ro_1"]
    assert [found.id for found in await store.rollouts(before="ro_1")] == ["ro_0"]
    assert (await store.rollouts(limit=1))[0] == (await store.case("ro_4")).rollout
    with pytest.raises(NotFound):
        await store.rollouts(before="ro_9")


async def test_rollouts_are_listed_by_service_and_phase(store: SqlStore) -> None:
    await add(store, "ro_1")
    await add(store, "ro_2", release=release(service="billing"))
    await add(store, "ro_3", phase=Phase.HELD)
    assert [found.id for found in await store.rollouts(service="billing")] == ["ro_2"]
    assert [found.id for found in await store.rollouts(phases=[Phase.HELD])] == ["ro_3"]
    assert await store.rollouts(service="billing", phases=[Phase.HELD]) == ()


async def test_busy_rollouts_are_the_unfinished_and_those_that_are_due_again(store: SqlStore) -> None:
    await add(store, "ro_1", phase=Phase.SUCCEEDED)  # watched: due again
    await add(store, "ro_2", phase=Phase.SUCCEEDED, next_due_at=None)
    await add(store, "ro_3", phase=Phase.HELD, next_due_at=None)  # until somebody acts
    await add(store, "ro_4", phase=Phase.CANCELED, next_due_at=None)
    await add(store, "ro_5", phase=Phase.PROGRESSING, release=release(service="billing"))
    assert [found.id for found in await store.rollouts(busy=True)] == ["ro_5", "ro_3", "ro_1"]
    assert [found.id for found in await store.rollouts(busy=True, service="billing")] == ["ro_5"]
    assert [found.id for found in await store.rollouts(busy=True, phases=[Phase.SUCCEEDED])] == ["ro_1"]


async def test_rollouts_are_listed_oldest_first_when_asked(store: SqlStore) -> None:
    for index in range(5):
        await add(store, f"ro_{index}", created_at=at(index // 2))
    first = await store.rollouts(oldest=True, limit=3)
    assert [found.id for found in first] == ["ro_0", "ro_1", "ro_2"]
    assert [found.id for found in await store.rollouts(oldest=True, before="ro_2")] == ["ro_3", "ro_4"]


async def test_active_rollouts_are_the_unfinished_ones_oldest_first(store: SqlStore) -> None:
    await add(store, "ro_1", created_at=at(3))
    await add(store, "ro_2", created_at=at(1), phase=Phase.QUEUED)
    await add(store, "ro_3", created_at=at(2), phase=Phase.ROLLED_BACK)
    await add(store, "ro_4", created_at=at(4), phase=Phase.ROLLBACK_FAILED)
    assert [found.id for found in await store.active("mail-sender")] == ["ro_2", "ro_1", "ro_4"]


async def test_asking_makes_a_rollout_due_and_never_later_than_it_was(store: SqlStore) -> None:
    await add(store, next_due_at=at(100))
    await store.ask(intent(at=at(5)))
    assert await store.due(at(5), 10) == ("ro_01",)


async def test_asking_wakes_a_rollout_that_wanted_nothing(store: SqlStore) -> None:
    await add(store, next_due_at=None)
    await store.ask(intent(at=at(3)))
    assert await store.due(at(2), 10) == ()
    assert await store.due(at(3), 10) == ("ro_01",)


async def test_asking_needs_a_rollout(store: SqlStore) -> None:
    with pytest.raises(NotFound):
        await store.ask(intent(rollout_id="ro_99"))


async def test_the_same_intent_cannot_be_recorded_twice(store: SqlStore) -> None:
    await add(store)
    await store.ask(intent())
    with pytest.raises(Conflict, match="in_1"):
        await store.ask(intent())
    assert len((await store.case("ro_01")).intents) == 1


async def test_events_have_one_sequence_over_all_rollouts(store: SqlStore) -> None:
    await add(store, "ro_1")
    await add(store, "ro_2")
    first = (await store.case("ro_1")).rollout
    await store.commit(Change(rollout=first, transitions=(transition(2, "ro_1"), transition(3, "ro_1"))))
    events = await store.events()
    assert [(event.transition.rollout_id, event.transition.number) for event in events] == [
        ("ro_1", 1),
        ("ro_2", 1),
        ("ro_1", 2),
        ("ro_1", 3),
    ]
    assert events[3].transition == transition(3, "ro_1")
    assert {event.service for event in events} == {"mail-sender"}
    assert await store.events(after=events[1].sequence) == events[2:]
    assert await store.events(after=events[1].sequence, limit=1) == events[2:3]
    assert await store.events(rollout_id="ro_2") == events[1:2]


async def test_the_newest_events_are_the_last_ones_in_order(store: SqlStore) -> None:
    await add(store, "ro_1")
    await add(store, "ro_2")
    first = (await store.case("ro_1")).rollout
    more = tuple(transition(number, "ro_1") for number in range(2, 7))
    await store.commit(Change(rollout=first, transitions=more))
    last = await store.events(rollout_id="ro_1", newest=True, limit=3)
    assert [event.transition.number for event in last] == [4, 5, 6]
    older = await store.events(rollout_id="ro_1", newest=True, before=last[0].sequence, limit=2)
    assert [event.transition.number for event in older] == [2, 3]
    rest = await store.events(rollout_id="ro_1", newest=True, before=older[0].sequence)
    assert [event.transition.number for event in rest] == [1]
