from dataclasses import replace

import httpx
import pytest
from page_app import ID, Stage, text_of
from page_views import NOW, ago, check, rollout, series

from api.dashboard import tiles
from rollout.core.model import Phase, Reason
from rollout.core.signals import VerdictKind
from rollout.showing.views import GateView


@pytest.mark.parametrize(
    ("low", "high", "limit", "tone"),
    [
        (1.6, 3.0, 1.5, "bad"),  # the whole interval is beyond the limit
        (1.4, 3.0, 1.5, "move"),  # a part of it is not
        (0.8, 1.4, 1.5, "good"),
        (0.8, None, 1.5, "move"),  # no end is known
        (1.6, None, 1.5, "bad"),
        (0.1, 0.4, 0.5, "bad"),  # where harm is a fall
        (0.6, 1.4, 0.5, "good"),
        (1.6, 3.0, None, "move"),  # nothing to be beyond of
    ],
)
def test_a_difference_is_red_only_when_its_whole_interval_is_beyond_the_limit(
    low: float, high: float | None, limit: float | None, tone: str
) -> None:
    at = None if limit is None else 0.01 * limit
    seen = check("errors", VerdictKind.UNDECIDED, value=0.012, baseline=0.01, low=low, high=high, limit=at)
    found = tiles.difference(seen, "%")
    assert found
    assert found.tone == tone
    assert f'class="difference {tone}"' in found.picture


def test_a_difference_says_its_numbers_in_the_unit_of_the_check() -> None:
    seen = check("errors", VerdictKind.PASS, value=0.012, baseline=0.01, low=0.9, high=1.5, limit=0.02)
    shown = tiles.difference(seen, "%")
    assert shown
    assert shown.words == "+0.20 points (from −0.10 points to +0.50 points), limit +1.00 points"
    timed = tiles.difference(replace(seen, value=12.0, baseline=10.0, limit=None, high=None), "ms")
    assert timed
    assert timed.words == "+2 ms (from −1 ms or more)"


@pytest.mark.parametrize("lacks", [{"value": None}, {"baseline": None}, {"baseline": 0.0}, {"low": None}])
def test_without_an_interval_there_is_no_difference(lacks: dict[str, float | None]) -> None:
    assert tiles.difference(check("errors", VerdictKind.PASS, **lacks), "%") is None


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        ("about 788 more candidate requests, 2 min", "not enough traffic yet: 212 of about 1,000 requests"),
        ("more than 30,000 more candidate requests", "not enough traffic yet: 212 of about 30,212 requests"),
        ("the next judged block", "212 judged"),
    ],
)
def test_a_sample_that_is_too_small_says_how_much_would_be_enough(needs: str, words: str) -> None:
    assert tiles.traffic(check("errors", VerdictKind.UNDECIDED, seen=212, needs=needs)) == words
    assert tiles.traffic(check("errors", VerdictKind.PASS, seen=212, needs=needs)) == "212 judged"
    assert tiles.traffic(check("errors", VerdictKind.NO_DATA, seen=0.0, needs=needs)) == ""


def test_a_check_without_points_has_no_plot_and_a_link_to_its_evidence() -> None:
    seen = check("errors{segment=far}", VerdictKind.PASS)
    made = tiles.tile(ID, seen, {("R3", seen.signal): series("R3", seen.signal, points=())})
    assert made.plot == ""
    assert made.href == f"/rollouts/{ID}/checks/R3/errors%7Bsegment%3Dfar%7D"


async def test_the_tiles_have_plots_that_say_in_words_what_they_show(admin: httpx.AsyncClient) -> None:
    page = (await admin.get(f"/rollouts/{ID}")).text
    assert page.count('<svg class="pair"') == 3
    assert 'aria-label="Plot. errors in R3, blocks of 1 min: 1.2.0 0.40 % last' in page
    assert "not enough traffic yet: 12,400 of about 16,500 requests" in text_of(page)


async def test_the_evidence_screen_has_plot_numbers_settings_and_every_block(
    admin: httpx.AsyncClient,
) -> None:
    page = (await admin.get(f"/rollouts/{ID}/checks/R3/errors")).text
    words = text_of(page)
    for each in (
        "failed requests in R3",
        "✔ pass R3 errors",
        "Now 0.41 % against 0.39 % on instances beside it in R3 (×1.1, between ×0.80 and ×1.3, 95 %",
        "Sample 12,400 judged",
        "Ruled out by a pass ×1.5 of the baseline",
        "2026-11-21 02:45:00 UTC gap 0.4",
        "deploy : R3 gets 1.2.0 at 75 %.",
    ):
        assert each in words, each
    assert page.count('<th scope="row">') == 120
    assert page.count('<polyline class="candidate"') == 4, "the gap is not joined, in neither size"


async def test_an_unknown_check_is_a_page_with_404_that_names_the_known(admin: httpx.AsyncClient) -> None:
    answer = await admin.get(f"/rollouts/{ID}/checks/R3/nonsense")
    assert answer.status_code == 404
    assert "Checked by this rollout: errors, latency, restarts." in text_of(answer.text)


async def test_plots_are_read_once_for_all_who_look_at_the_same_time(
    stage: Stage, admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    original = stage.queries.series

    async def counted(*given: object, **more: object) -> object:
        reads.append(given)
        return await original(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(stage.queries, "series", counted)
    for _ in range(3):
        await admin.get(f"/rollouts/{ID}")
    assert len(reads) == 1
    stage.clock.advance(10)
    await admin.get(f"/rollouts/{ID}")
    assert len(reads) == 2


async def test_a_rollout_that_only_observes_says_so_and_what_it_would_have_done(
    stage: Stage, admin: httpx.AsyncClient
) -> None:
    stage.queries.show(rollout(Phase.PROGRESSING, mode="observe"))
    page = text_of((await admin.get(f"/rollouts/{ID}")).text)
    assert "Observing: nothing is deployed or rolled back." in page
    assert "Would have" not in page
    would = Reason(code="check.harm", text="R3 failed requests 4.10 %.", region="R3", since=ago(8))
    stage.queries.show(rollout(Phase.PROGRESSING, mode="observe", would=would))
    page = text_of((await admin.get(f"/rollouts/{ID}")).text)
    assert (
        "Would have rolled back R3 for harm since 2026-11-21 03:02:00 UTC : R3 failed requests 4.10 %."
        in page
    )
    stage.queries.show(rollout(Phase.PROGRESSING))
    assert "Observing" not in text_of((await admin.get(f"/rollouts/{ID}")).text)


async def test_gates_say_where_they_stand(stage: Stage, admin: httpx.AsyncClient) -> None:
    gates = (
        GateView(name="smoke", stage="R3", status="passed", text="passed by ci", url="https://ci.example/1"),
        GateView(name="load", stage="R1", status="waiting", text="is awaited", deadline=NOW),
    )
    stage.queries.show(rollout(Phase.PROGRESSING, gates=gates))
    page = (await admin.get(f"/rollouts/{ID}")).text
    assert "✔ passed smoke R3 passed by ci its result" in text_of(page)
    assert "◔ awaited load R1 is awaited until" in text_of(page)
    assert 'href="https://ci.example/1"' in page


async def test_the_report_is_text(admin: httpx.AsyncClient) -> None:
    answer = await admin.get(f"/rollouts/{ID}/report.md")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "mail-sender 1.2.0" in answer.text
