"""What cannot be stored: it is tried again ever more slowly, stops nobody else, and words are made to fit."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rollout.core.actions import Action, ActionRecord
from rollout.core.errors import PermanentError, StoreError, TransientError
from rollout.core.model import Kind, Phase, RegionPhase
from rollout.ports import Ask, Reading, Reply
from rollout.reconciling.outside import storable
from rollout.telemetry.onlooker import Attempted, Onlooker
from tests.scenarios.world import DANA, ONE, World

MakeWorld = Callable[[dict[str, object]], World]
BAD, MENDED = (
    "a\0b\ud800c\udfffd",
    "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}d",
)


# ------------------------------------------------------------------ a result that cannot be stored


class _Seen(Onlooker):
    def __init__(self) -> None:
        self.retried: list[str] = []

    def attempted(self, what: Attempted) -> None:
        if what.record.open and what.record.unreachable_since is not None:
            self.retried.append(what.record.key)


def _refuse(world: World, kind: Kind) -> Callable[[], None]:
    """From now on no result of an action of this kind can be stored; calling what is returned mends it."""
    real = world.store.save_action

    async def refused(record: ActionRecord, fence: Any = None) -> bool:
        if record.action.kind is kind:
            raise StoreError("The database refused the work: invalid byte sequence.")
        return await real(record, fence)

    world.store.save_action = refused  # type: ignore[method-assign]
    return lambda: setattr(world.store, "save_action", real)


def _times(world: World, kind: Kind) -> int:
    return [action.kind for _, action in world.plugins.fake_deployer("R3").calls].count(kind)


async def test_an_order_whose_result_cannot_be_stored_is_given_again_ever_more_slowly_and_for_ever(
    make_world: MakeWorld,
) -> None:
    world, seen = make_world(ONE), _Seen()
    world.reconciler._effects._onlooker = seen
    await world.given_known_good()
    mended = _refuse(world, Kind.DEPLOY)
    rollout_id = await world.start("1.1.0")
    await world.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)
    await world.run(60)
    assert 5 <= _times(world, Kind.DEPLOY) <= 9
    assert len(seen.retried) == _times(world, Kind.DEPLOY)
    await world.run(120)
    assert 13 <= _times(world, Kind.DEPLOY) <= 17
    mended()
    await world.until(rollout_id, Phase.SUCCEEDED)
    assert world.effects("R3", Kind.DEPLOY) == ["1.1.0"]
    assert not world.reconciler._effects._unstored


async def test_a_result_that_cannot_be_stored_delays_no_other_action(make_world: MakeWorld) -> None:
    world = make_world(ONE)
    rollout_id = await world.given_baking("1.1.0")
    _refuse(world, Kind.NOTIFY)
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.until(rollout_id, Phase.ROLLED_BACK, within=10)


async def test_a_restore_whose_result_cannot_be_stored_is_never_put_off_for_long(
    make_world: MakeWorld,
) -> None:
    world = make_world(ONE)
    rollout_id = await world.given_baking("1.1.0")
    mended = _refuse(world, Kind.RESTORE)
    await world.commands.rollback(rollout_id, DANA, "users complain")
    await world.run(60)
    assert _times(world, Kind.RESTORE) >= 12
    mended()
    await world.until(rollout_id, Phase.ROLLED_BACK, within=8)


# ------------------------------------------------------------------ words that no database takes


def test_what_no_database_takes_is_replaced_however_deep_it_is_and_the_rest_is_the_same() -> None:
    deep = {BAD: [BAD, (BAD, 1.5, None, True)], "häßlich 🚀": {"x": BAD}}
    assert storable(deep) == {
        MENDED: [MENDED, (MENDED, 1.5, None, True)],
        "häßlich 🚀": {"x": MENDED},
    }
    action = Action(kind=Kind.DEPLOY, region="R1", service="mail", version=BAD)
    assert storable(action) == replace(action, version=MENDED)
    clean = replace(action, version="1.0.0", details={"items": ["ä"]})
    assert storable(clean) == clean


async def test_what_a_target_says_is_stored_whatever_characters_it_has(make_world: MakeWorld) -> None:
    world = make_world(ONE)
    await world.given_known_good()
    deployer = world.plugins.fake_deployer("R3")
    answers, tries = deployer.apply, 0

    async def said(key: str, action: Action) -> Reply:
        nonlocal tries
        tries += 1
        if tries % 3 == 1:
            raise TransientError(f"R3 says {BAD}")
        reply = await answers(key, action)
        result = replace(reply.result, message=BAD, details={**reply.result.details, BAD: [BAD]})
        return replace(reply, result=result)

    deployer.apply = said  # type: ignore[method-assign]
    rollout_id = await world.start("1.1.0")
    await world.until(rollout_id, Phase.SUCCEEDED)
    ended = [r for r in (await world.case(rollout_id)).actions if r.action.kind is Kind.DEPLOY]
    assert [record.result.message for record in ended] == [MENDED]
    assert ended[0].result.details[MENDED] == [MENDED]


async def test_a_refusal_is_a_reason_whatever_characters_it_has(make_world: MakeWorld) -> None:
    world = make_world(ONE)
    await world.given_known_good()
    world.plugins.fake_deployer("R3").fail_next(Kind.DEPLOY, PermanentError(f"no: {BAD}"))
    view = await world.until(await world.start("1.1.0"), Phase.ROLLED_BACK)
    assert f"no: {MENDED}" in view.reason.text


@pytest.mark.parametrize("raises", [False, True])
async def test_what_a_source_tells_is_stored_whatever_characters_it_has(
    make_world: MakeWorld, raises: bool
) -> None:
    world = make_world(ONE)
    await world.given_known_good()
    source: Any = world.plugins.sources["R3"]
    tells = source.collect

    async def told(ask: Ask) -> Reading:
        if raises:
            raise ValueError(f"not a number: {BAD}")
        reading: Reading = await tells(ask)
        strange = tuple(replace(s, version=BAD, instance=BAD) for s in reading.samples)
        return replace(
            reading,
            samples=(*reading.samples, *strange),
            cursor={**reading.cursor, BAD: BAD},
            problems=(BAD,),
        )

    source.collect = told
    await world.run(3)
    (seen,) = [one for one in await world.store.observed() if one.region == "R3"]
    assert seen.collected_at is not None
    assert (world.clock.now() - seen.collected_at).total_seconds() <= 1
    if raises:
        assert seen.error == f"ValueError: not a number: {MENDED}."
    else:
        assert (seen.error, seen.problems, seen.cursor[MENDED]) == ("", (MENDED,), MENDED)
        found = await world.store.samples("mail", ("R3",), limit=1000)
        assert {sample.version for _, sample in found} == {"1.0.0", MENDED}
