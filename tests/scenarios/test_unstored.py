"""What cannot be stored: it is tried again ever more slowly, stops nobody else, and words are made to fit."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rollout.core.actions import Action, ActionRecord
from rollout.core.errors import PermanentError, StoreError, TransientError, Unwritable
from rollout.core.model import Kind, Phase, RegionPhase, Service
from rollout.ports import Ask, Change, Observed, Reading, Reply
from rollout.reconciling.outside import storable
from rollout.telemetry.onlooker import Attempted, Onlooker
from tests.scenarios.world import ADMIN, DANA, NAMES, ONE, World

MakeWorld = Callable[[dict[str, object]], World]
LONG = {"steps": [{"set_weight": 75}, {"bake": "60s"}]}
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


# ------------------------------------------------------------------ a decision that cannot be stored


async def given_two(world: World) -> tuple[str, str]:
    """Rollouts of mail and web that bake in R3."""
    mail = await world.given_baking("1.1.0")
    for name in NAMES:
        world.plugins.fake_deployer(name).install("web", "1.0.0")
    await world.store.put_service(Service(name="web", policy="standard"))
    await world.run(5)
    await world.commands.adopt("web", ADMIN, "it serves well")
    web = await world.start("2.0.0", service="web")
    await world.until_region(web, "R3", RegionPhase.BAKING)
    return mail, web


def _refuse_decisions(
    world: World, error: StoreError, monkeypatch: pytest.MonkeyPatch, *ids: str
) -> list[str]:
    """From now on no decision on these can be stored; which were refused."""
    real, refused = world.store.commit, list[str]()

    async def commit(change: Change, fence: Any = None) -> Any:
        if change.rollout.id in ids:
            refused.append(change.rollout.id)
            raise error
        return await real(change, fence)

    monkeypatch.setattr(world.store, "commit", commit)
    return refused


async def test_a_rollout_whose_decision_the_database_refuses_stops_no_other_and_is_paged_once(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(LONG)
    mail, web = await given_two(world)
    error = StoreError("The database refused the work: integer out of range.")
    refused = _refuse_decisions(world, error, monkeypatch, mail)
    await world.commands.rollback(web, DANA, "users complain")
    await world.until(web, Phase.ROLLED_BACK, within=10)
    await world.run(120)
    assert 5 <= len(refused) <= 9
    (page,) = [page for page in world.pages() if mail in page]
    assert "StoreError: The database refused the work: integer out of range." in page
    assert f"Ask `rollout rollback {mail}`" in page
    monkeypatch.undo()
    await world.commands.rollback(mail, DANA, "users complain")
    await world.until(mail, Phase.ROLLED_BACK, within=150)


async def test_a_decision_that_is_refused_for_a_moment_is_no_page(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(LONG)
    mail = await world.given_baking("1.1.0")
    refused = _refuse_decisions(world, StoreError("too many writers"), monkeypatch, mail)
    while len(refused) < 3:
        await world.tick()
    monkeypatch.undo()
    await world.run(20)
    assert not [page for page in world.pages() if "cannot be decided" in page]
    assert not world.reconciler._troubled


async def test_a_reading_that_the_database_refuses_stops_no_other_service(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(LONG)
    _, web = await given_two(world)
    save, refused = world.store.save_reading, []

    async def unless_mail(seen: Observed, *arguments: Any) -> None:
        if seen.service == "mail":
            refused.append(seen.region)
            raise StoreError("A value is out of range.")
        await save(seen, *arguments)

    monkeypatch.setattr(world.store, "save_reading", unless_mail)
    await world.run(5)
    await world.commands.rollback(web, DANA, "users complain")
    await world.until(web, Phase.ROLLED_BACK, within=60)
    assert refused


@pytest.mark.parametrize("full", [True, False])
async def test_where_nothing_can_be_written_the_look_fails_and_nobody_is_paged_for_each_rollout(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    world = make_world(LONG)
    mail, web = await given_two(world)
    error = Unwritable("The disk is full.") if full else StoreError("The connection was lost.")
    refused = _refuse_decisions(world, error, monkeypatch, mail, web)

    renew = world.store.hold

    async def lost(*arguments: Any, **named: Any) -> Any:
        if refused:
            raise error
        return await renew(*arguments, **named)

    if not full:  # a small write may still find room there
        monkeypatch.setattr(world.store, "hold", lost)
    for _ in range(30):
        before, failed = len(refused), False
        try:
            await world.reconciler.tick()
        except StoreError:
            failed = True
        assert failed or len(refused) == before
        await world.reconciler.settle()
        world.clock.advance(1)
    assert refused
    assert not [page for page in world.pages() if "cannot be decided" in page]
    assert not world.reconciler._troubled


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
