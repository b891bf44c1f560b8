"""No data is never good: it holds, it is never promoted, and it is never a pass."""

import math
from collections.abc import Callable

import pytest

from rollout.core.errors import TransientError
from rollout.core.model import Outcome, Phase
from rollout.ports import Ask
from tests.scenarios.world import DANA, ONE, QUICK, World

MakeWorld = Callable[[dict[str, object]], World]
SLOW_SILENCE = {**QUICK, "guards": {"silence": "10m"}}


def silent(world: World, *versions: str) -> None:
    """From now on these versions report nothing in R3."""
    world.silent |= {("R3", version) for version in versions}


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (("1.1.0",), "the candidate reports nothing"),
        (("1.0.0",), "the baseline stopped reporting"),
        (("1.0.0", "1.1.0"), "neither the candidate nor the baseline reports"),
    ],
)
async def test_silence_for_longer_than_the_deadline_is_held_and_never_promoted(
    make_world: MakeWorld, lost: tuple[str, ...], said: str
) -> None:
    world = make_world(SLOW_SILENCE)
    rollout_id = await world.given_baking("1.1.0")
    silent(world, *lost)
    view = await world.until(rollout_id, Phase.HELD)
    assert view.reason.code == "check.no_data"
    assert said in view.reason.text
    assert view.blocked_by
    assert any(said in page for page in world.pages())
    await world.run(60)
    assert world.effects("R1", "deploy") == []


async def test_a_candidate_that_falls_silent_while_the_baseline_reports_is_harm(
    make_world: MakeWorld,
) -> None:
    world = make_world({**QUICK, "guards": {"silence": "8s"}})
    rollout_id = await world.given_baking("1.1.0")
    silent(world, "1.1.0")
    view = await world.until(rollout_id, Phase.ROLLED_BACK)
    assert view.reason.code == "guard.silence"


async def test_a_source_that_cannot_be_asked_is_an_error_that_holds(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    rollout_id = await world.given_baking("1.1.0")
    source, real = world.plugins.sources["R3"], world.plugins.sources["R3"]._line

    def down(_: Ask) -> TransientError:
        return TransientError("Prometheus answers 503.")

    source._line = down
    view = await world.until(rollout_id, Phase.HELD)
    assert view.reason.code == "source.error"
    assert "Prometheus answers 503." in view.reason.text
    await world.run(30)
    assert world.effects("R1", "deploy") == []
    source._line = real
    await world.run(10)
    await world.commands.resume(rollout_id, DANA, "Prometheus is back")
    assert (await world.until(rollout_id, Phase.SUCCEEDED)).outcome is Outcome.PROMOTED


async def test_resuming_blind_holds_again(make_world: MakeWorld) -> None:
    world = make_world(SLOW_SILENCE)
    rollout_id = await world.given_baking("1.1.0")
    silent(world, "1.0.0", "1.1.0")
    await world.until(rollout_id, Phase.HELD)
    await world.commands.resume(rollout_id, DANA, "it will be fine")
    await world.run(40)
    assert (await world.rollout(rollout_id)).phase is Phase.HELD
    assert world.effects("R1", "deploy") == []


@pytest.mark.parametrize("junk", [math.nan, math.inf, -1.0])
async def test_junk_is_never_a_pass(make_world: MakeWorld, junk: float) -> None:
    world = make_world({**SLOW_SILENCE, **ONE})
    await world.given_known_good()
    world.given_harm("R3", "1.1.0", {"errors": (junk, 50.0), "restarts": (junk, 4 / 3600)})
    rollout_id = await world.start("1.1.0")
    await world.run(60)
    rollout = await world.rollout(rollout_id)
    assert rollout.phase is not Phase.SUCCEEDED
    assert rollout.region("R3").passed_at is None


async def test_a_bake_does_not_end_with_too_few_requests(make_world: MakeWorld) -> None:
    world = make_world(ONE)
    await world.given_known_good()
    world.given_harm("R3", "1.1.0", {"errors": (0.0, 1.0), "restarts": (0.0, 4 / 3600)})
    rollout_id = await world.start("1.1.0")
    view = await world.until(rollout_id, Phase.HELD)
    assert view.reason.code == "bake.too_little"
    assert "of the 50 requests that a bake must see" in view.reason.text


async def test_a_bake_without_anything_to_compare_with_says_so(make_world: MakeWorld) -> None:
    checks = [{"signal": "errors", "baselines": ["history"]}, "restarts"]
    world = make_world({**ONE, "checks": checks})
    await world.given_known_good()
    rollout_id = await world.start("1.1.0")
    view = await world.until(rollout_id, Phase.HELD)
    assert view.reason.code == "bake.uncompared"
    assert "had nothing to compare failed requests with. Keep a holdback beside it" in view.reason.text
    assert view.sentence.endswith("is held by controller: nothing to compare with in R3.")


async def test_a_check_that_ignores_missing_data_does_not_hold(make_world: MakeWorld) -> None:
    checks = [{"signal": "errors"}, {"signal": "restarts", "no_data": "ignore"}]
    world = make_world({**ONE, "checks": checks})
    await world.given_known_good()
    world.given_harm("R3", "1.1.0", {"errors": (0.0, 50.0)})
    world.given_harm("R3", "1.0.0", {"errors": (0.0, 50.0)})
    rollout_id = await world.start("1.1.0")
    assert (await world.until(rollout_id, Phase.SUCCEEDED)).outcome is Outcome.PROMOTED
