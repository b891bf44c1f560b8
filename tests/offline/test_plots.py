"""Plots are well-formed SVG, bounded, and show what was marked."""

import math
import xml.etree.ElementTree as ET

import pytest

from rollout.offline.plots import HEIGHT, WIDTH, Chart, Mark, draw
from rollout.offline.tracks import MOST_POINTS, MOST_SHOWN, Look, Track

SVG = "{http://www.w3.org/2000/svg}"


def a_chart(**changes: object) -> Chart:
    times = [1000.0 * n for n in range(1, 50)]
    known: dict[str, object] = {
        "title": "mail <1.5> & more",
        "candidate": [(t, 0.01) for t in times],
        "baseline": [(t, 0.005) for t in times],
        "interval": [(t, 0.004, math.inf) for t in times],
        "evidence": [(t, t / 1e4) for t in times],
        "combined": [(t, t / 2e4) for t in times],
        "threshold": 4.6,
        "marks": (
            Mark(time=5000.0, text="deploy", kind="deploy"),
            Mark(time=40000.0, text="held", kind="decision"),
        ),
    }
    return Chart(**(known | changes))  # type: ignore[arg-type]


def coordinates(root: ET.Element) -> list[float]:
    found = [
        float(number)
        for line in root.iter()
        for pair in line.get("points", "").split()
        for number in pair.split(",")
    ]
    return [
        *found,
        *(float(line.get(key, 0)) for line in root.iter(f"{SVG}line") for key in ("x1", "x2", "y1", "y2")),
    ]


def test_a_chart_is_well_formed_and_inside_its_frame():
    root = ET.fromstring(draw(a_chart()))
    assert all(0 <= number <= max(WIDTH, HEIGHT) for number in coordinates(root))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert "mail <1.5> & more" in texts
    assert {"deploy", "held", "acts"} <= set(texts)
    assert {"candidate", "baseline", "evidence"} <= {
        line.get("class") for line in root.iter(f"{SVG}polyline")
    }


@pytest.mark.parametrize(
    "chart",
    [
        Chart(title="nothing"),
        Chart(title="one", candidate=[(5.0, 0.0)]),
        a_chart(threshold=math.inf),
        a_chart(candidate=[], baseline=[], interval=[]),
        a_chart(candidate=[(1000.0, 0.0), (2000.0, 1e12)], evidence=[(1000.0, -500.0), (2000.0, 700.0)]),
        a_chart(candidate=[(1e9, 1e-9), (2e9, 2e-9)], evidence=[(1e9, 0.0)], combined=[]),
    ],
)
def test_odd_numbers_are_drawn_too(chart: Chart):
    assert all(math.isfinite(number) for number in coordinates(ET.fromstring(draw(chart))))


def test_the_same_chart_is_the_same_text():
    assert draw(a_chart()) == draw(a_chart())


def test_a_track_keeps_a_bounded_number_of_points_and_loses_no_event():
    track = Track(60.0)
    for n in range(20_000):
        track.add("candidate", 60.0 * (n + 1), 1.0, 100.0)
        track.look(Look(60.0 * n, None, None, None, None, 0.0, 0.0))
    assert len(track.candidate) <= MOST_POINTS
    assert len(track.looks) <= MOST_POINTS
    assert sum(events for events, _ in track.candidate.values()) == 20_000
    assert len(track.points("candidate")) <= MOST_SHOWN
    assert {rate for _, rate in track.points("candidate")} == {0.01}
