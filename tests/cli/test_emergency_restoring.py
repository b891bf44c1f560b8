"""One region restored by a person: done means read back, whatever the target says."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollout.core.actions import Action, ActionResult
from rollout.core.model import Kind, KnownGood, Release
from rollout.emergency.known_good import Pair
from rollout.emergency.record import Record
from rollout.emergency.restoring import ABOVE, Restoring
from rollout.emergency.seal import make_seal
from rollout.ports import Progress, Reply
from rollout.testing import FakeDeployer, ManualClock
from tests.scenarios.world import START

GOOD = KnownGood(
    service="mail",
    region="R3",
    release=Release(service="mail", version="1.0.0"),
    since=START,
    how="adopted",
    by="dana",
)
PAIR = Pair(service="mail", region="R3", generation=3, known_good=(GOOD,))


@pytest.mark.parametrize(("lies", "state"), [(False, "done"), (True, "begun")])
async def test_it_is_done_when_the_region_was_read_back_and_not_when_its_target_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lies: bool, state: str
) -> None:
    clock = ManualClock(START)
    deployer, said = FakeDeployer(clock, "R3"), list[str]()
    deployer.install("mail", "1.1.0")
    answers = deployer.apply

    async def lying(key: str, action: Action) -> Reply:
        if lies and action.kind is Kind.RESTORE:
            return Reply(progress=Progress.SUCCEEDED, result=ActionResult(message="done"))
        return await answers(key, action)

    async def passing(seconds: float) -> Any:
        clock.advance(seconds)

    monkeypatch.setattr(deployer, "apply", lying)
    record = Record(tmp_path / "emergency.jsonl", make_seal(tmp_path / "key"))
    restoring = Restoring(deployer, record, clock, said.append, passing)
    begun = restoring.begun(PAIR, GOOD, await restoring.look(PAIR), "dana", "it fails")
    ended = await restoring.until_read_back(begun, clock.now() + timedelta(seconds=20))
    assert ended.state == state
    assert record.read() == (ended,)
    assert begun.generation == PAIR.generation + ABOVE == 1_003
