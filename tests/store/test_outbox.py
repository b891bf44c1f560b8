"""The outbox by lanes and places: what is left out is left out by the database, and nothing else is."""

from collections.abc import Collection
from dataclasses import replace

import pytest

from rollout.core.actions import ActionRecord, ActionResult, Lane
from rollout.core.model import ActionState, Kind, Phase
from rollout.ports import Change
from rollout.store import SqlStore
from tests.store.builders import action, at, plan, rollout, transition


async def recorded(store: SqlStore, *records: ActionRecord, phase: Phase = Phase.PROGRESSING) -> None:
    await store.add(rollout(phase=phase, next_due_at=at(500)), plan(), transition(1))
    await store.commit(Change(rollout=(await store.case("ro_01")).rollout, actions=records))


def of(kind: Kind, region: str | None, key: str = "") -> ActionRecord:
    made = action(key or f"{kind}-{region}", kind=kind)
    return replace(made, action=replace(made.action, region=region))


async def keys(
    store: SqlStore, lane: Lane, full: Collection[str] = (), besides: Collection[str] = ()
) -> list[str]:
    found = await store.due_actions(at(9), 50, lane=lane, full=full, besides=besides)
    return sorted(record.key for record in found)


@pytest.mark.parametrize(
    ("phase", "lane"),
    [
        (Phase.PROGRESSING, Lane.FORWARD),
        (Phase.PREFLIGHT, Lane.FORWARD),
        (Phase.ROLLING_BACK, Lane.BACK),
        (Phase.ROLLBACK_FAILED, Lane.BACK),
    ],
)
async def test_every_kind_has_one_lane_and_a_reading_that_of_its_rollout(
    store: SqlStore, phase: Phase, lane: Lane
) -> None:
    await recorded(store, *(of(kind, "R3", str(kind)) for kind in Kind), phase=phase)
    found = {each: set(await keys(store, each)) for each in Lane}
    always = {Lane.BACK: {"restore"}, Lane.KEEP: {"collect"}, Lane.TELL: {"notify"}, Lane.FORWARD: set()}
    always[Lane.FORWARD] = {str(kind) for kind in Kind} - {"restore", "collect", "notify", "verify"}
    assert found == {each: always[each] | ({"verify"} if each is lane else set()) for each in Lane}


@pytest.mark.parametrize("name", ["R3", 'R"3', "R'3", "R%", "Zürich", "a\\b", "日本"])
async def test_a_full_region_is_left_out_and_no_other(store: SqlStore, name: str) -> None:
    await recorded(store, of(Kind.DEPLOY, name, "here"), of(Kind.DEPLOY, "R30", "there"))
    assert await keys(store, Lane.FORWARD, full=[name]) == ["there"]
    assert await keys(store, Lane.FORWARD, full=["R30", "R"]) == ["here"]


async def test_what_a_target_told_does_not_make_it_another_regions(store: SqlStore) -> None:
    told = ActionResult(message='{"action":{"kind":"deploy","region":"R1",', details={"region": "R1"})
    await recorded(store, replace(of(Kind.DEPLOY, "R3", "a"), result=told))
    assert await keys(store, Lane.FORWARD, full=["R1"]) == ["a"]


async def test_a_full_channel_is_left_out_and_no_other(store: SqlStore) -> None:
    base, copy, near = (of(Kind.NOTIFY, None, key) for key in ("ro_1/1/0", "web_x/ro_1/1/0", "web-x/r"))
    await recorded(store, base, copy, near)
    assert await keys(store, Lane.TELL, full=["web_x"]) == ["ro_1/1/0", "web-x/r"]


async def test_a_full_nameless_channel_is_left_out_and_no_other(store: SqlStore) -> None:
    base, copy, order = (
        of(Kind.NOTIFY, None, "ro_01/1/0"),
        of(Kind.NOTIFY, None, "web/ro_01/1/0"),
        of(Kind.DEPLOY, "R3", "ro_01/1/1"),
    )
    await recorded(store, base, copy, order)
    assert await keys(store, Lane.TELL, full=[""]) == ["web/ro_01/1/0"]
    assert await keys(store, Lane.FORWARD, full=[""]) == ["ro_01/1/1"]


async def test_keys_are_left_out_one_by_one_and_the_limit_counts_what_is_left(store: SqlStore) -> None:
    await recorded(store, *(of(Kind.DEPLOY, "R3", f"k{index}") for index in range(9)))
    left_out = {f"k{index}" for index in range(7)}
    found = await store.due_actions(at(9), 2, lane=Lane.FORWARD, besides=left_out)
    assert [record.key for record in found] == ["k7", "k8"]


async def test_any_number_is_found_in_parts_each_once_also_where_one_is_put_off_meanwhile(
    store: SqlStore,
) -> None:
    late = [replace(of(Kind.DEPLOY, "R3", f"b{index}"), due_at=at(1)) for index in range(4)]
    early = [of(Kind.DEPLOY, "R3", f"a{index}") for index in range(5)]
    await recorded(store, *late, *early, of(Kind.RESTORE, "R3", "restore"))
    found: list[ActionRecord] = []
    while part := await store.due_actions(at(9), 3, beyond=found[-1] if found else None):
        found += part
        assert await store.save_action(replace(part[-1], due_at=at(80)))
    wanted = ["restore", "a0", "a1", "a2", "a3", "a4", "b0", "b1", "b2", "b3"]
    assert [record.key for record in found] == wanted


async def test_an_infinite_number_in_one_result_hides_nothing(store: SqlStore) -> None:
    odd = replace(of(Kind.DEPLOY, "R3", "odd"), result=ActionResult(details={"age": float("inf")}))
    await recorded(store, odd, of(Kind.DEPLOY, "R1", "other"))
    assert await keys(store, Lane.FORWARD, full=["R2"]) == ["odd", "other"]


async def test_the_backlog_counts_what_is_pending_whenever_it_is_due(store: SqlStore) -> None:
    assert await store.backlog() == {}
    late = replace(of(Kind.NOTIFY, None, "late"), recorded_at=at(3), due_at=at(9000))
    early = replace(of(Kind.NOTIFY, None, "early"), recorded_at=at(1))
    done = replace(of(Kind.RESTORE, "R3", "done"), state=ActionState.SUCCEEDED, ended_at=at(4))
    await recorded(store, late, early, of(Kind.RESTORE, "R3", "restore"), of(Kind.RESTORE, "R3", "done"))
    assert await store.save_action(done)
    found = await store.backlog()
    assert {lane: (each.pending, each.oldest) for lane, each in found.items()} == {
        Lane.TELL: (2, at(1)),
        Lane.BACK: (1, at(0)),
    }


async def test_notices_that_nobody_takes_do_not_crowd_out_what_a_decision_needs(store: SqlStore) -> None:
    notices = [of(Kind.NOTIFY, None, f"n{index}") for index in range(500)]
    await recorded(store, of(Kind.RESTORE, "R3", "restore"), *notices)
    assert "restore" in {record.key for record in (await store.case("ro_01")).actions}
    assert await store.save_action(
        replace(of(Kind.RESTORE, "R3", "restore"), state=ActionState.SUCCEEDED, ended_at=at(1))
    )
    later = of(Kind.VERIFY, "R3", "verify")
    await store.commit(Change(rollout=(await store.case("ro_01")).rollout, actions=[later]))
    assert "verify" in {record.key for record in (await store.case("ro_01")).actions}
