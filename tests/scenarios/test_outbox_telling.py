"""A notice reaches every channel, each by tries of its own, and none is given up in silence."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from rollout import reconciler as shell
from rollout.core.actions import ActionRecord
from rollout.core.errors import Conflict, PermanentError, TransientError
from rollout.core.model import ActionState, Kind
from rollout.ports import Notice, Notifier
from rollout.reconciler import Reconciler
from rollout.reconciling.telling import UNKNOWN_FOR_S
from rollout.testing import RecordingNotifier
from tests.scenarios.world import DANA, World


class Counting(RecordingNotifier):
    """Keeps every delivery, also of a key that came before, and every try."""

    def __init__(self) -> None:
        super().__init__()
        self.tries: Counter[str] = Counter()
        self.delivered: Counter[str] = Counter()

    async def send(self, notice: Notice) -> None:
        self.tries[notice.key] += 1
        await super().send(notice)
        self.delivered[notice.key] += 1


def a_controller(world: World, log: Notifier, channels: Mapping[str, Notifier]) -> Reconciler:
    return Reconciler(
        store=world.store,
        clock=world.clock,
        configuration=lambda: world.configuration,
        deployer=world.plugins.deployer,
        source=world.plugins.source,
        notifier=log,
        channels=channels,
        collect_s=1.0,
    )


async def given_channels(world: World) -> tuple[Counting, Counting, str]:
    """A log, a webhook, and a rollout that is about to say that it is held."""
    log, webhook = Counting(), Counting()
    rollout_id = await world.given_baking("1.1.0")
    world.reconciler = a_controller(world, log, {"webhook": webhook})
    return log, webhook, rollout_id


async def notices(world: World, rollout_id: str) -> list[ActionRecord]:
    actions = (await world.case(rollout_id)).actions
    return [record for record in actions if record.action.kind is Kind.NOTIFY]


async def test_each_channel_is_told_once_though_one_of_them_fails_for_long(world: World) -> None:
    log, webhook, rollout_id = await given_channels(world)
    webhook.error = TransientError("https://hooks.test answers 503.")
    await world.commands.rollback(rollout_id, DANA, "now")
    await world.run(200)
    told = set(log.delivered)
    assert told
    assert set(log.delivered.values()) == {1}
    tried = max(webhook.tries.values())
    assert 5 <= tried <= 12, "ever more slowly: a minute between two tries at most"
    webhook.error = None
    await world.run(61)
    assert set(webhook.delivered) == told
    assert set(webhook.delivered.values()) == {1}
    assert {r.state for r in await notices(world, rollout_id)} == {ActionState.SUCCEEDED}


async def test_a_channel_that_hangs_delays_no_other(world: World) -> None:
    log, webhook, rollout_id = await given_channels(world)

    async def hang(_: Notice) -> None:
        await asyncio.Event().wait()

    webhook.send = hang  # type: ignore[method-assign]
    await world.commands.rollback(rollout_id, DANA, "now")
    await world.reconciler.tick()
    for _ in range(50):
        await asyncio.sleep(0)
    assert any("rolling back" in notice.text for notice in log.notices)
    await world.reconciler.stop()


async def test_a_crash_between_two_channels_tells_the_first_one_nothing_twice(world: World) -> None:
    log, webhook, rollout_id = await given_channels(world)
    webhook.error = TransientError("not now")
    await world.commands.rollback(rollout_id, DANA, "now")
    await world.tick()
    await world.reconciler.stop()
    webhook.error = None
    world.reconciler = a_controller(world, log, {"webhook": webhook})
    await world.run(20)
    assert set(webhook.delivered) == set(log.delivered) != set()
    assert set(log.delivered.values()) == {1}


async def test_a_channel_that_wants_no_more_is_said_loudly_on_the_others(world: World) -> None:
    log, webhook, rollout_id = await given_channels(world)
    webhook.error = PermanentError("https://hooks.test answers 410: it wants no notices any more.")
    await world.commands.rollback(rollout_id, DANA, "now")
    await world.run(10)
    (said,) = [notice for notice in log.notices if notice.key == "channel/webhook/gone"]
    assert said.urgent
    assert "answers 410" in said.text
    ended = [r for r in await notices(world, rollout_id) if r.place == "webhook"]
    assert {r.state for r in ended} == {ActionState.FAILED}
    assert all("410" in r.result.message for r in ended)


async def test_a_channel_that_is_not_set_here_keeps_its_notices_for_a_day(world: World) -> None:
    log, webhook, rollout_id = await given_channels(world)
    webhook.error = TransientError("not now")
    await world.commands.rollback(rollout_id, DANA, "now")
    await world.tick()
    world.reconciler = a_controller(world, log, {})
    await world.run(5)
    kept = [r for r in await notices(world, rollout_id) if r.place == "webhook"]
    assert {r.state for r in kept} == {ActionState.PENDING}
    assert "docs/notifiers.md" in kept[0].result.message
    world.clock.advance(timedelta(seconds=UNKNOWN_FOR_S).total_seconds())
    await world.run(61)
    given_up = [r for r in await notices(world, rollout_id) if r.key == kept[0].key]
    assert {r.state for r in given_up} == {ActionState.FAILED}
    assert any(notice.key == "channel/webhook/gone" for notice in log.notices)


async def test_that_a_rollout_cannot_be_decided_is_told_also_after_an_outage_of_the_notifier(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout_id = await world.given_baking("1.1.0")
    world.plugins.notifier.error = TransientError("chat is down")

    def decide(*_: Any) -> Any:
        raise ZeroDivisionError("a fault that nobody foresaw")

    monkeypatch.setattr(shell, "decide", decide)
    await world.run(30)
    assert [page for page in world.pages() if "ZeroDivisionError" in page] == []
    world.plugins.notifier.error = None
    await world.run(61)
    (page,) = [page for page in world.pages() if "ZeroDivisionError" in page]
    assert page.startswith(f"mail 1.1.0 ({rollout_id}) cannot be decided since ")
    assert page.endswith(
        f"Ask `rollout rollback {rollout_id}`; if status does not say 'rolling back' within a minute, in "
        "each of R3: `rollout emergency restore mail --region R --even-so --reason …`."
    )


async def test_that_a_decision_does_not_fit_for_a_minute_is_told_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout_id = await world.given_baking("1.1.0")

    async def commit(*_: Any) -> Any:
        raise Conflict("R3 is held by rollout 'ro_2'.", "region-busy")

    monkeypatch.setattr(world.store, "commit", commit)
    await world.run(50)
    assert world.pages() == []
    await world.run(200)
    (page,) = world.pages()
    assert page.startswith(f"mail 1.1.0 ({rollout_id}) cannot be decided since ")
    assert "R3 is held by rollout 'ro_2'" in page


async def test_that_a_region_is_in_doubt_is_told_also_after_an_outage_and_after_a_crash(
    world: World,
) -> None:
    await world.given_known_good()
    assert await world.store.distrust_if_old(world.clock.now(), 10**9)  # type: ignore[attr-defined]
    world.plugins.fake_deployer("R1").install("mail", "9.9.9")
    world.plugins.notifier.error = TransientError("chat is down")
    world.reconciler = world.another_controller()
    await world.run(15)
    assert world.pages() == []
    await world.reconciler.stop()
    world.reconciler = world.another_controller()  # it has not heard of what was not told
    await world.run(3)
    world.plugins.notifier.error = None
    await world.run(61)
    (page,) = [page for page in world.pages() if "in doubt" in page]
    assert "R1 is in doubt" in page
    assert "it runs 4 × 9.9.9" in page
