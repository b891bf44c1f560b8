"""What every deployer promises (rollout/ports.py), run against each implementation of the fixture `lab`."""

import re
from collections.abc import Awaitable

import pytest
from deployer_lab import Lab

from rollout.core.actions import Action
from rollout.core.errors import PermanentError
from rollout.core.model import Kind
from rollout.ports import Progress, Reply


async def refusal(order: Awaitable[Reply]) -> str:
    """Why an order is refused for good: by an error, or by an answer that may hold more than words."""
    try:
        reply = await order
    except PermanentError as error:
        return str(error)
    assert reply.progress is Progress.FAILED
    return reply.result.message


async def test_deploy_then_verify_reads_back_the_ordered_share(lab: Lab) -> None:
    reply = await lab.deploy(weight=50)
    read_back = await lab.order("verify", Kind.VERIFY, generation=2)
    assert reply.progress is Progress.SUCCEEDED
    assert read_back.result.running == {lab.better: 2, lab.good: 1}


async def test_raising_the_weight_keeps_the_instances_that_have_the_release(lab: Lab) -> None:
    await lab.deploy("first", weight=30)
    before = await lab.started()
    await lab.deploy("second", weight=60, generation=3)
    after = await lab.started()
    assert [one for one in before if one[1] == lab.better] == [
        one for one in after if one[1] == lab.better and one in before
    ]
    assert sum(one[1] == lab.better for one in after) == 2


async def test_the_same_key_again_has_no_second_effect(lab: Lab) -> None:
    await lab.deploy(weight=30)
    before, effects = await lab.started(), lab.effects()
    again = await lab.deploy(weight=30)
    assert again.progress is Progress.SUCCEEDED
    assert (await lab.started(), lab.effects()) == (before, effects)


async def test_a_lower_generation_is_refused_and_changes_nothing(lab: Lab) -> None:
    await lab.order("newer", Kind.RESTORE, version=lab.good, generation=7)
    before = await lab.started()
    assert re.search(r"6.*7|7.*6", await refusal(lab.deploy("late", generation=6)))
    assert await lab.started() == before


async def test_reading_back_and_recovery_are_not_fenced(lab: Lab) -> None:
    await lab.order("newer", Kind.RESTORE, version=lab.good, generation=7)
    assert (await lab.order("v", Kind.VERIFY, generation=1)).progress is Progress.SUCCEEDED
    assert (await lab.order("f", Kind.FIND_STALLED, generation=1)).progress is Progress.SUCCEEDED


async def test_restore_brings_every_instance_back(lab: Lab) -> None:
    await lab.deploy(weight=90)
    reply = await lab.order("restore", Kind.RESTORE, version=lab.good, generation=3)
    read_back = await lab.order("verify", Kind.VERIFY, generation=3)
    assert reply.progress is Progress.SUCCEEDED
    assert read_back.result.running == {lab.good: 3}


async def test_a_version_that_cannot_run_fails_says_why_and_can_be_restored_from(lab: Lab) -> None:
    lab.break_version(lab.broken)
    reply = await lab.order(
        "deploy", Kind.DEPLOY, version=lab.broken, from_version=lab.good, weight=30, generation=2
    )
    assert reply.progress is Progress.FAILED
    assert lab.broken in reply.result.message
    assert "unknown version" in reply.result.message
    assert lab.broken not in (await lab.order("verify", Kind.VERIFY)).result.running
    restored = await lab.order("restore", Kind.RESTORE, version=lab.good, generation=3)
    assert restored.progress is Progress.SUCCEEDED
    assert (await lab.order("verify-2", Kind.VERIFY)).result.running == {lab.good: 3}


async def test_a_rehearsal_does_not_touch_what_runs(lab: Lab) -> None:
    before = await lab.started()
    reply = await lab.order("rehearse", Kind.REHEARSE, version=lab.better, generation=1)
    assert reply.progress is Progress.SUCCEEDED
    assert await lab.started() == before


async def test_collecting_before_a_restore_gives_evidence(lab: Lab) -> None:
    await lab.deploy(weight=30)
    reply = await lab.order("collect", Kind.COLLECT, generation=3)
    assert reply.progress is Progress.SUCCEEDED
    assert reply.result.details
    await lab.order("restore", Kind.RESTORE, version=lab.good, generation=3)
    assert (await lab.order("verify", Kind.VERIFY)).result.running == {lab.good: 3}


async def test_stalled_work_is_found_and_each_item_is_resumed_once(lab: Lab) -> None:
    lab.stall()
    found = (await lab.order("find", Kind.FIND_STALLED, details={"stalled_after_s": 300})).result.details
    assert [item["id"] for item in found["items"]] == ["1", "2"]
    assert found["backlog"] == 2
    assert found["oldest_age_s"] >= 400
    one = await lab.order("resume-1", Kind.RESUME_WORK, details={"items": found["items"][:1]})
    both = await lab.order("resume-2", Kind.RESUME_WORK, details={"items": found["items"]})
    assert (one.result.details["resumed"], one.result.details["already"]) == (1, 0)
    assert (both.result.details["resumed"], both.result.details["already"]) == (1, 1)


async def test_work_that_is_younger_is_not_called_stalled(lab: Lab) -> None:
    lab.stall()
    found = (await lab.order("find", Kind.FIND_STALLED, details={"stalled_after_s": 600})).result.details
    assert found["items"] == []
    assert found["backlog"] == 2


async def test_what_a_deployer_cannot_do_is_refused_for_good(lab: Lab) -> None:
    assert Kind.NOTIFY not in lab.deployer.supports
    with pytest.raises(PermanentError):
        await lab.deployer.apply("notify", Action(kind=Kind.NOTIFY, region="R3", service=lab.service))
