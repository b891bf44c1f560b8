import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rollout.core.errors import NotFound
from rollout.core.model import (
    KnownGood,
    Phase,
    Plugin,
    Reason,
    Region,
    RegionPhase,
    RegionRollout,
    Release,
    Rollout,
    Transition,
)
from rollout.core.plan import Plan, compile_plan
from rollout.core.policy import Policy
from rollout.core.signals import Sample, Signal, SignalKind, VerdictKind
from rollout.ports import Change, Event, Keep, Observed
from rollout.showing.plotting import LARGE, TILE, draw_pair
from rollout.showing.series import SeriesView, band_of, read_series
from rollout.showing.views import CheckView
from rollout.store import SqlStore, inline, open_store

T0 = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
OLD, NEW, SERVICE = "1.1.0", "1.2.0", "mail-sender"
SIGNALS = {
    "errors": Signal(name="errors", kind=SignalKind.RATIO, title="failed requests", sources={"scrape": {}}),
    "latency": Signal(
        name="latency", kind=SignalKind.DISTRIBUTION, title="requests", unit="s", sources={"scrape": {}}
    ),
    "backlog": Signal(name="backlog", kind=SignalKind.GAUGE, title="backlog", sources={"scrape": {}}),
}


def plan() -> Plan:
    policy = Policy.model_validate(
        {
            "apiVersion": "rollout/v1",
            "name": "plain",
            "steps": [{"set_weight": 90}, {"bake": "10m"}],
            "stages": [{"regions": ["R3"]}, {"regions": ["R1"]}],
            "checks": list(SIGNALS),
        }
    )
    places = {
        name: Region(
            name=name,
            title=name,
            time_zone="UTC",
            order=order,
            traffic_share=0.5,
            deployer=Plugin(kind="process"),
            source=Plugin(kind="scrape"),
        )
        for order, name in enumerate(("R3", "R1"))
    }
    return compile_plan(policy, places, SIGNALS)


def rollout(**changes: Any) -> Rollout:
    """One that touched R3 at T0 and bakes there."""
    good = KnownGood(
        service=SERVICE,
        region="R3",
        release=Release(service=SERVICE, version=OLD),
        since=T0,
        by="ann",
        how="adopted",
    )
    there = RegionRollout(
        region="R3",
        stage=0,
        since=T0,
        phase=RegionPhase.BAKING,
        touched_at=T0,
        back_to=good,
        bake_started_at=T0,
    )
    made = Rollout(
        id="ro_1",
        release=Release(service=SERVICE, version=NEW),
        policy="plain",
        policy_revision=1,
        phase=Phase.PROGRESSING,
        since=T0,
        created_at=T0,
        created_by="ci",
        transitions=1,
        next_due_at=T0,
        reason=Reason(code="bake", text="R3 bakes."),
        regions=(there, RegionRollout(region="R1", stage=1, since=T0)),
    )
    return replace(made, **changes)


def row(number: int, trigger: str, after_s: float, region: str | None = None) -> Transition:
    at = T0 + timedelta(seconds=after_s)
    reason = Reason(code=trigger, text=f"{trigger} <happened>.")
    return Transition(
        rollout_id="ro_1", number=number, at=at, region=region, from_phase="", to_phase="progressing",
        trigger=trigger, actor="ci", reason=reason,
    )  # fmt: skip


def samples(begin_s: float, end_s: float, version: str, bad: float, every_s: int = 10) -> list[Sample]:
    """Of every signal: `bad` of 100 requests, `bad` of 100 slower than 0.25 s, and a backlog of `bad`."""
    found = []
    for end in range(int(begin_s) + every_s, int(end_s) + 1, every_s):
        made = {
            "errors": (bad, 100.0),
            "latency{le=0.1}": (50.0, 100.0),
            "latency{le=0.25}": (100 - bad, 100.0),
            "backlog": (bad, 0.0),
        }
        at = T0 + timedelta(seconds=end)
        found += [
            Sample(
                time=at,
                region="R3",
                version=version,
                signal=signal,
                value=value,
                exposure=exposure,
                duration_s=every_s,
            )
            for signal, (value, exposure) in made.items()
        ]
    return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = open_store(f"sqlite:///{tmp_path / 'rollout.db'}", run=inline)
    yield opened
    opened.close()


async def filled(
    store: SqlStore, given: Sequence[Sample], *, history: Sequence[Transition] = (), **more: Any
) -> None:
    first = row(1, "start", -60)
    await store.add(rollout(**more), plan(), first)
    at = max((sample.time for sample in given), default=T0)
    await store.save_reading(Observed(service=SERVICE, region="R3", collected_at=at), given, None)


async def series_of(store: SqlStore, signal: str = "errors", after_s: float = 300, **more: Any) -> SeriesView:
    now = T0 + timedelta(seconds=after_s)
    told = more.pop("checks", ())
    found = await read_series(store, await store.case("ro_1"), "R3", told, now=now, signals=[signal], **more)
    return found[signal]


def check(signal: str, **more: Any) -> CheckView:
    given = {
        "region": "R3", "signal": signal, "title": signal, "verdict": VerdictKind.UNDECIDED, "text": "",
        "value": 0.04, "baseline": 0.02, "limit": 0.05, "log_e": 0.0, "seen": 0.0, "needs": "", "guard": "",
        "baseline_kind": "beside", "since": None, "newest": None,
    }  # fmt: skip
    return CheckView(**{**given, **more})


async def test_each_block_has_the_rate_of_candidate_and_baseline_and_a_gap_is_none(store: SqlStore) -> None:
    given = [
        *samples(-600, 300, OLD, 2.0),
        *samples(0, 120, NEW, 4.0),
        *samples(180, 300, NEW, 6.0),
    ]
    await filled(store, given)
    found = await series_of(store)
    assert (found.candidate, found.baseline, found.block_s) == (NEW, OLD, 10)
    by_end = {(p.at - T0).total_seconds(): (p.candidate, p.baseline) for p in found.points}
    assert by_end[-290] == (None, 0.02), "before the deploy only the baseline runs"
    assert by_end[60] == (0.04, 0.02)
    assert by_end[150] == (None, 0.02), "nothing was measured of the candidate, so nothing is drawn"
    assert by_end[300] == (0.06, 0.02)
    assert len(found.points) == len({p.at for p in found.points}) == 60


async def test_a_distribution_gives_the_share_beyond_the_edge_that_the_judge_watches(store: SqlStore) -> None:
    await filled(store, [*samples(-600, 300, OLD, 2.0), *samples(0, 300, NEW, 40.0)])
    found = await series_of(store, "latency", checks=[check("latency", edge=0.1)])
    assert (found.edge, found.points[-1].candidate) == (0.1, 0.5)
    unjudged = await series_of(store, "latency")
    assert (unjudged.edge, unjudged.points[-1].candidate, unjudged.points[-1].baseline) == (0.25, 0.4, 0.02)
    assert unjudged.title == "requests slower than 250 ms"
    assert "40.00 % last" in unjudged.text


async def test_a_gauge_is_in_its_own_unit(store: SqlStore) -> None:
    await filled(store, [*samples(-600, 300, OLD, 7.0), *samples(0, 300, NEW, 9.0)])
    found = await series_of(store, "backlog")
    assert (found.unit, found.points[-1].candidate, found.points[-1].baseline) == ("", 9.0, 7.0)


async def test_no_more_points_than_asked_for_and_they_are_sums_of_their_samples(store: SqlStore) -> None:
    await filled(
        store, [*samples(-600, 300, OLD, 2.0), *samples(0, 150, NEW, 4.0), *samples(150, 300, NEW, 8.0)]
    )
    found = await series_of(store, points=10)
    assert len(found.points) <= 10
    halves = [p.candidate for p in found.points if (p.at - T0).total_seconds() == 180]
    assert halves == [pytest.approx((3 * 4 + 3 * 8) / 600)], "6 samples, of which 3 are from before the rise"


async def test_the_stamp_of_a_rollout_rises_with_every_write(store: SqlStore) -> None:
    await filled(store, [])
    before = await store.stamps(["ro_1", "ro_unknown"])
    await store.commit(Change(rollout=(await store.case("ro_1")).rollout))
    after = await store.stamps(["ro_1"])
    assert before.keys() == after.keys() == {"ro_1"}
    assert after["ro_1"] > before["ro_1"]


async def test_the_band_is_the_middle_nine_tenths_of_the_baseline() -> None:
    assert band_of([0.1] * 4) is None, "too few blocks say nothing"
    assert band_of(list(range(101))) == (5.0, 95.0)


async def test_the_judge_gives_limit_and_level(store: SqlStore) -> None:
    await filled(store, [*samples(-600, 300, OLD, 2.0), *samples(0, 300, NEW, 4.0)])
    found = await series_of(store, checks=[check("errors"), check("errors", region="R1", limit=9.0)])
    assert (found.limit, found.compared_with, found.baseline_kind) == (0.05, 0.02, "beside")
    assert "limit 5.00 %" in found.text
    assert (await series_of(store, checks=[check("errors", limit=0.0)])).limit is None


class Told:
    """A store whose history of the rollout a test has written."""

    def __init__(self, store: SqlStore, rows: Sequence[Transition]) -> None:
        self._store, self._rows = store, rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def events(self, **_: Any) -> tuple[Event, ...]:
        return tuple(Event(sequence=n, service=SERVICE, transition=r) for n, r in enumerate(self._rows))


async def test_marks_are_of_this_region_or_of_the_whole_rollout(store: SqlStore) -> None:
    await filled(store, samples(0, 300, NEW, 4.0))
    rows = [
        row(1, "start", -60), row(2, "deploy", 0, "R3"), row(3, "deployed", 5, "R3"),
        row(4, "deploy", 60, "R3"),
        row(5, "deploy", 70, "R1"), row(6, "hold", 90), row(7, "resume", 95), row(8, "promote", 120),
        row(9, "harm", 200), row(10, "restored", 230, "R3"),
    ]  # fmt: skip
    found = await series_of(Told(store, rows))  # type: ignore[arg-type]
    assert [(m.kind, m.text) for m in found.marks] == [
        ("deploy", "deploy"),
        ("weight", "weight"),
        ("hold", "held"),
        ("promote", "promoted"),
        ("rollback", "rollback"),
        ("rollback", "restored"),
    ]
    assert found.bake == (T0 + timedelta(seconds=5), None)
    assert "Marks (UTC): deploy 09:00:00, weight 09:01:00" in found.text


async def test_what_is_not_known_is_named_with_what_is(store: SqlStore) -> None:
    await filled(store, [])
    case = await store.case("ro_1")
    with pytest.raises(NotFound, match="Known to this rollout: R3, R1"):
        await read_series(store, case, "R9", (), now=T0)
    with pytest.raises(NotFound, match="Checked by this rollout: errors, latency, backlog"):
        await read_series(store, case, "R3", (), now=T0, signals=["error"])


async def test_an_untouched_region_has_no_points_and_says_so(store: SqlStore) -> None:
    await filled(store, [])
    found = (await read_series(store, await store.case("ro_1"), "R1", (), now=T0))["errors"]
    assert found.points == ()
    assert "1.2.0 has no data" in found.text


async def test_an_ended_rollout_is_shown_as_it_was_and_not_what_ran_long_after(store: SqlStore) -> None:
    regions = (replace(rollout().regions[0], restored_at=T0 + timedelta(minutes=5)), rollout().regions[1])
    await filled(store, [*samples(-600, 900, OLD, 2.0), *samples(0, 300, NEW, 40.0)], regions=regions)
    found = await series_of(store, after_s=3 * 86400)
    assert found.until == T0 + timedelta(minutes=8)


@pytest.mark.real
async def test_six_hours_of_samples_of_every_ten_seconds_are_read_in_less_than_200_ms(
    store: SqlStore,
) -> None:
    after_s = 6 * 3600
    await filled(store, [*samples(-after_s, after_s, OLD, 2.0), *samples(0, after_s, NEW, 2.0)])
    now = T0 + timedelta(seconds=after_s)
    while await store.forget(now, Keep()):  # as the controller does all the time
        pass
    spent = []
    for _ in range(3):
        begun = time.perf_counter()
        found = await series_of(store, after_s=after_s)
        spent.append(time.perf_counter() - begun)
    assert len([p for p in found.points if p.candidate is not None]) >= 50
    assert min(spent) < 0.2, f"{min(spent):.3f} s"


# ------------------------------------------------------------------ the picture


async def drawn(store: SqlStore, size: Any = TILE, **more: Any) -> str:
    await filled(
        store, [*samples(-600, 300, OLD, 2.0), *samples(0, 120, NEW, 4.0), *samples(180, 300, NEW, 6.0)]
    )
    rows = [row(1, "deploy", 0, "R3"), row(2, "deployed", 5, "R3"), row(3, "harm", 200)]
    return draw_pair(await series_of(Told(store, rows), **more), size)  # type: ignore[arg-type]


async def test_a_gap_is_two_lines_and_not_one(store: SqlStore) -> None:
    picture = await drawn(store)
    assert picture.count('<polyline class="candidate"') == 2
    assert picture.count('<polyline class="baseline"') == 1


async def test_band_bake_limit_and_marks_are_drawn_and_said(store: SqlStore) -> None:
    picture = await drawn(store, LARGE, checks=[check("errors")])
    for part in (
        'class="band"',
        'class="bake"',
        'class="limit"',
        'class="mark deploy"',
        'class="mark rollback"',
    ):
        assert part in picture
    assert "rollback 09:03" in picture
    assert 'role="img"' in picture
    assert 'aria-label="Plot. failed requests in R3, blocks of 10 s: 1.2.0 6.00 % last' in picture
    assert "style" not in picture, "colours come from the page, under its policy"


async def test_a_limit_far_above_both_lines_does_not_press_them_flat(store: SqlStore) -> None:
    assert 'class="limit"' not in await drawn(store, checks=[check("errors", limit=0.9)])


async def test_a_picture_without_a_point_is_still_one(store: SqlStore) -> None:
    await filled(store, [])
    picture = draw_pair(await series_of(store))
    assert "has no data" in picture
    assert "nan" not in picture.lower()
    assert not math.isnan(picture.count("polyline"))
