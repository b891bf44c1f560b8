"""What waits in the outbox is in /metrics, lane by lane, however much of it there is."""

from datetime import UTC, datetime, timedelta

from rollout.core.actions import Lane
from rollout.core.model import Phase
from rollout.ports import Backlog
from rollout.telemetry.meters import Meters
from rollout.telemetry.standing import Standing, levels

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def outbox(backlog: dict[Lane, Backlog]) -> dict[tuple[str, str], float]:
    standing = Standing(now=NOW, phases={Phase.HELD: 1}, backlog=backlog)
    return {
        (value.metric.removeprefix("rollout_outbox_"), value.labels[0]): value.value
        for value in levels(standing)
        if value.metric.startswith("rollout_outbox_")
    }


def test_every_lane_has_its_number_and_the_age_of_its_oldest() -> None:
    found = outbox({Lane.TELL: Backlog(pending=1234, oldest=NOW - timedelta(seconds=601))})
    assert found["pending", "tell"] == 1234
    assert found["oldest_seconds", "tell"] == 601


def test_an_empty_lane_is_there_at_zero_so_that_an_alert_ends() -> None:
    assert outbox({}) == {(name, lane): 0 for name in ("pending", "oldest_seconds") for lane in Lane}


def test_a_clock_that_was_set_back_makes_no_age_below_zero() -> None:
    late = Backlog(pending=1, oldest=NOW + timedelta(hours=1))
    assert outbox({Lane.BACK: late})["oldest_seconds", "back"] == 0


def test_the_text_of_metrics_has_them() -> None:
    standing = Standing(now=NOW, phases={}, backlog={Lane.BACK: Backlog(pending=2, oldest=NOW)})
    text = Meters().text(levels(standing)).decode()
    assert 'rollout_outbox_pending{lane="back"} 2.0' in text
