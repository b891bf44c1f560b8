"""The fakes behave as the parts that they stand for; a fake that is too kind would hide faults."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rollout.core.actions import Action
from rollout.core.errors import OutsideError, PermanentError, TransientError
from rollout.core.model import Instance, Kind, Plugin, Region
from rollout.core.signals import Sample, Signal, SignalKind
from rollout.ports import Ask, Notice, Progress, Reading
from rollout.registry import DEPLOYERS, NOTIFIERS, SOURCES, load_plugins
from rollout.testing import FakeDeployer, FakePlugins, ManualClock, RecordingNotifier, ScriptedSource

T0 = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
ERRORS = Signal(name="errors", kind=SignalKind.RATIO, title="failed requests")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(T0)


@pytest.fixture
def region(clock: ManualClock) -> FakeDeployer:
    fake = FakeDeployer(clock, "R3")
    fake.install("mail", "1.0", 10)
    return fake


def order(kind: Kind = Kind.DEPLOY, weight: int = 30, generation: int = 1, **details: object) -> Action:
    return Action(
        kind=kind,
        region="R3",
        service="mail",
        version="1.0" if kind is Kind.RESTORE else "2.0",
        from_version="2.0" if kind is Kind.RESTORE else "1.0",
        weight=weight,
        generation=generation,
        details=details,
    )


async def running(region: FakeDeployer, generation: int = 99) -> dict[str, int]:
    reply = await region.apply("read", order(Kind.VERIFY, generation=generation))
    assert reply.progress is Progress.SUCCEEDED
    return dict(reply.result.running)


# ------------------------------------------------------------------ clock


def test_the_manual_clock_moves_only_when_told(clock: ManualClock) -> None:
    assert clock.now() == clock.now() == T0
    clock.advance(90)
    assert clock.now() == T0 + timedelta(seconds=90)


def test_the_manual_clock_refuses_a_time_without_utc() -> None:
    with pytest.raises(ValueError, match="is not UTC"):
        ManualClock(T0.replace(tzinfo=None))


# ------------------------------------------------------------------ deployer


@pytest.mark.parametrize(
    ("size", "weight", "new"),
    [(10, 30, 3), (10, 1, 1), (10, 99, 9), (10, 100, 10), (4, 90, 3), (4, 10, 1), (1, 50, 1), (2, 90, 1)],
)
async def test_a_weight_becomes_whole_instances_with_one_of_each_side(
    clock: ManualClock, size: int, weight: int, new: int
) -> None:
    region = FakeDeployer(clock)
    region.install("mail", "1.0", size)
    reply = await region.apply("k1", order(weight=weight))
    assert reply.progress is Progress.SUCCEEDED
    versions = [instance.version for instance in await region.instances("mail")]
    assert (versions.count("2.0"), versions.count("1.0")) == (new, size - new)


async def test_raising_the_weight_does_not_touch_instances_that_are_right_already(
    clock: ManualClock, region: FakeDeployer
) -> None:
    await region.apply("k1", order(weight=30))
    before = {one.id: one for one in await region.instances("mail")}
    clock.advance(60)
    await region.apply("k2", order(weight=50))
    after = {one.id: one for one in await region.instances("mail")}
    changed = {name for name in after if after[name] != before[name]}
    assert len(changed) == 2
    assert all(after[name].version == "2.0" and after[name].started_at == clock.now() for name in changed)


async def test_the_same_key_takes_effect_once(region: FakeDeployer) -> None:
    first = await region.apply("k1", order())
    region.crash("mail", 0)
    assert await region.apply("k1", order()) == first
    assert len(region.effects) == 1
    assert (await region.instances("mail"))[0].restarts == 1


async def test_a_restore_brings_the_whole_region_back(region: FakeDeployer) -> None:
    await region.apply("k1", order(weight=90))
    await region.apply("k2", order(Kind.RESTORE, 100, 2))
    assert await running(region) == {"1.0": 10}


async def test_an_order_of_a_lower_generation_is_refused_even_under_a_known_key(region: FakeDeployer) -> None:
    await region.apply("old", order(generation=3))
    await region.apply("back", order(Kind.RESTORE, 100, 4))
    for key in ("old", "late"):
        with pytest.raises(PermanentError, match="has seen generation 4 of mail and refuses 3"):
            await region.apply(key, order(generation=3))
    assert await running(region) == {"1.0": 10}


@pytest.mark.parametrize(
    "kind", [Kind.VERIFY, Kind.COLLECT, Kind.FIND_STALLED, Kind.RESUME_WORK, Kind.REHEARSE]
)
async def test_evidence_and_recovery_stay_possible_under_a_newer_release(
    region: FakeDeployer, kind: Kind
) -> None:
    await region.apply("new", order(generation=7))
    assert (await region.apply("k", order(kind, generation=3))).progress is Progress.SUCCEEDED


async def test_a_slow_order_runs_for_as_many_polls_and_takes_effect_at_the_end(region: FakeDeployer) -> None:
    region.slow(Kind.DEPLOY, 2)
    for _ in range(2):
        assert (await region.apply("k1", order())).progress is Progress.RUNNING
        assert await running(region, 1) == {"1.0": 10}
    assert (await region.apply("k1", order())).progress is Progress.SUCCEEDED
    assert await running(region, 1) == {"1.0": 7, "2.0": 3}


async def test_a_slow_order_that_was_overtaken_never_takes_effect(region: FakeDeployer) -> None:
    region.slow(Kind.DEPLOY, 1)
    await region.apply("k1", order(generation=1))
    await region.apply("k2", order(Kind.RESTORE, 100, 2))
    with pytest.raises(PermanentError):
        await region.apply("k1", order(generation=1))
    assert await running(region) == {"1.0": 10}


async def test_a_lost_answer_is_an_error_after_the_effect_and_the_retry_does_nothing_more(
    region: FakeDeployer,
) -> None:
    region.lose_answer(Kind.DEPLOY)
    with pytest.raises(TransientError):
        await region.apply("k1", order())
    assert await running(region) == {"1.0": 7, "2.0": 3}
    assert (await region.apply("k1", order())).progress is Progress.SUCCEEDED
    assert len(region.effects) == 1


@pytest.mark.parametrize("error", [TransientError("busy"), PermanentError("no such artifact")])
async def test_a_failure_has_no_effect_and_happens_once(region: FakeDeployer, error: OutsideError) -> None:
    region.fail_next(Kind.DEPLOY, error)
    with pytest.raises(type(error)):
        await region.apply("k1", order())
    assert region.effects == []
    assert (await region.apply("k1", order())).progress is Progress.SUCCEEDED


async def test_a_failed_reply_stays_failed_under_its_key(region: FakeDeployer) -> None:
    region.fail_next(Kind.REHEARSE, "did not start")
    for _ in range(2):
        reply = await region.apply("k1", order(Kind.REHEARSE))
        assert (reply.progress, reply.result.message) == (Progress.FAILED, "did not start")
    assert region.effects == []


async def test_an_unreachable_region_answers_nothing_and_forgets_nothing(region: FakeDeployer) -> None:
    region.unreachable = True
    with pytest.raises(TransientError, match="R3 cannot be reached"):
        await region.apply("k1", order())
    with pytest.raises(TransientError):
        await region.instances("mail")
    region.unreachable = False
    assert await running(region) == {"1.0": 10}


async def test_a_crash_keeps_the_place_and_a_deployment_forgets_its_restarts(
    clock: ManualClock, region: FakeDeployer
) -> None:
    clock.advance(5)
    region.crash("mail", 0)
    region.crash("mail", 0)
    first = (await region.instances("mail"))[0]
    assert (first.restarts, first.started_at, first.id) == (2, clock.now(), "mail-1")
    collected = await region.apply("c", order(Kind.COLLECT))
    assert collected.result.details["instances"][0] == {"id": "mail-1", "version": "1.0", "restarts": 2}
    await region.apply("k1", order(weight=100))
    assert {one.restarts for one in await region.instances("mail")} == {0}


async def test_stalled_work_is_found_by_age_and_each_item_is_resumed_once(region: FakeDeployer) -> None:
    region.stall("mail", {"m1": 900, "m2": 400, "m3": 20}, backlog=5)
    found = (await region.apply("f", order(Kind.FIND_STALLED, stalled_after_s=300))).result.details
    assert found == {
        "items": [{"id": "m1", "age_s": 900}, {"id": "m2", "age_s": 400}],
        "oldest_age_s": 900,
        "backlog": 8,
    }
    first = await region.apply("r1", order(Kind.RESUME_WORK, items=found["items"]))
    again = await region.apply("r2", order(Kind.RESUME_WORK, items=["m1", "m2"]))
    assert first.result.details == {"resumed": 2, "already": 0}
    assert again.result.details == {"resumed": 0, "already": 2}
    assert [effect.items for effect in region.effects] == [("m1", "m2"), ()]
    left = (await region.apply("f2", order(Kind.FIND_STALLED, stalled_after_s=300))).result.details
    assert (left["items"], left["oldest_age_s"]) == ([], 20)


async def test_the_first_deployment_needs_to_know_what_runs_beside_it(clock: ManualClock) -> None:
    region = FakeDeployer(clock)
    assert await region.instances("mail") == ()
    with pytest.raises(PermanentError, match="name from_version"):
        await region.apply("k1", replace(order(), from_version=None))
    await region.apply("k2", replace(order(weight=100), from_version=None))
    assert await running(region) == {"2.0": 4}


@pytest.mark.parametrize("weight", [0, 101])
async def test_a_share_that_cannot_be_is_refused(region: FakeDeployer, weight: int) -> None:
    with pytest.raises(PermanentError, match="order 1 to 100 %"):
        await region.apply("k1", order(weight=weight))


async def test_a_deployer_tells_nobody(region: FakeDeployer) -> None:
    assert Kind.NOTIFY not in region.supports
    with pytest.raises(PermanentError, match="R3 cannot notify"):
        await region.apply("k1", order(Kind.NOTIFY))


# ------------------------------------------------------------------ source


def an_ask(*versions: str, region: str = "R3") -> Ask:
    instances = tuple(
        Instance(id=v, version=v, url="", started_at=T0, healthy=True) for v in versions or ("1.0",)
    )
    return Ask(service="mail", region=region, signals=(ERRORS,), instances=instances, cursor={}, now=T0)


async def test_a_script_is_read_line_by_line_and_then_says_nothing() -> None:
    source = ScriptedSource([{"1.0": {"errors": (1, 50)}}, PermanentError("gone"), {}])
    (sample,) = (await source.collect(an_ask())).samples
    assert sample == Sample(
        time=T0, region="R3", version="1.0", signal="errors", value=1, exposure=50, duration_s=0
    )
    with pytest.raises(PermanentError, match="gone"):
        await source.collect(an_ask())
    for _ in range(3):
        assert (await source.collect(an_ask())).samples == ()
    assert len(source.asks) == 5


async def test_a_script_does_not_tell_of_signals_that_nobody_asked_for() -> None:
    source = ScriptedSource(
        lambda _: {"1.0": {"errors": (0, 5), "restarts": (1, 1)}, "3.0": {"errors": (5, 5)}}
    )
    assert [(s.version, s.signal) for s in (await source.collect(an_ask("1.0"))).samples] == [
        ("1.0", "errors")
    ]


async def test_a_script_may_give_a_whole_reading() -> None:
    reading = Reading(samples=(), cursor={"x": 1}, problems=("slot 1 is silent",))
    assert await ScriptedSource([reading]).collect(an_ask()) is reading


# ------------------------------------------------------------------ wiring


def a_region(name: str) -> Region:
    nobody = Plugin(kind="nobody")
    return Region(
        name=name, title=name, time_zone="UTC", order=1, traffic_share=1.0, deployer=nobody, source=nobody
    )


async def test_each_region_has_a_deployer_and_a_script_of_its_own(clock: ManualClock) -> None:
    plugins = FakePlugins(clock, lambda name: [{"1.0": {"errors": (len(name), 9)}}])
    assert plugins.deployer(a_region("R1")) is plugins.deployer(a_region("R1")) is plugins.fake_deployer("R1")
    assert plugins.deployer(a_region("R1")) is not plugins.deployer(a_region("R3"))
    source = plugins.source(a_region("APAC"))
    assert source is plugins.sources["APAC"]
    assert [s.value for s in (await source.collect(an_ask(region="APAC"))).samples] == [4]


def test_no_fake_can_be_named_in_a_file() -> None:
    load_plugins()
    kinds = {*SOURCES.kinds, *DEPLOYERS.kinds, *NOTIFIERS.kinds}
    assert {"scrape", "log"} <= kinds
    assert not {kind for kind in kinds if "fake" in kind or "script" in kind or "record" in kind}


# ------------------------------------------------------------------ notifiers


NOTICE = Notice(key="ro_1/3/0", rollout_id="ro_1", service="mail", text="R3 is going back.", urgent=True)


async def test_the_recording_notifier_keeps_each_key_once_and_fails_on_demand() -> None:
    recording = RecordingNotifier()
    await recording.send(NOTICE)
    await recording.send(NOTICE)
    recording.error = TransientError("chat is down")
    with pytest.raises(TransientError, match="chat is down"):
        await recording.send(replace(NOTICE, key="other"))
    assert recording.notices == [NOTICE]
