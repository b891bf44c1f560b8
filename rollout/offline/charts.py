"""From the tracks of a trial to its charts, one for each check and region."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from rollout.core.errors import InvalidInput
from rollout.core.reason import describe
from rollout.core.signals import Signal, SignalKind
from rollout.offline.plots import Chart, Mark, draw
from rollout.offline.tracks import Cell, Track
from rollout.offline.trial import Trial
from rollout.svg import Band, Point

LONGEST = 135  # characters of the line below the title
LEAST_BEFORE_S = 1800.0  # of the baseline that is shown from before a deploy, else as long as after it
SHARES = frozenset({SignalKind.RATIO, SignalKind.DISTRIBUTION})
_WORDS = {"rolled_back": "rolled back", "held": "held", "promoted": "promoted"}


def write_charts(directory: Path, trial: Trial, tracks: Mapping[Cell, Track]) -> tuple[str, ...]:
    """One SVG file for each check and region; their paths. Raises InvalidInput when one cannot be written."""
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for (region, signal), chart in charts(trial, tracks):
            path = directory / f"{_file_name(trial, region, signal)}.svg"
            path.write_text(draw(chart), encoding="utf-8")
            written.append(str(path))
    except OSError as error:
        raise InvalidInput(
            f"{directory} cannot be written: {error.strerror}; name another with --plots."
        ) from error
    return tuple(written)


def charts(trial: Trial, tracks: Mapping[Cell, Track]) -> Iterator[tuple[Cell, Chart]]:
    """The chart of every check that was judged, region by region."""
    said = {(verdict.region, verdict.signal): verdict for verdict in trial.judgement.verdicts}
    for cell, verdict in said.items():
        track = tracks.get(cell)
        if track is not None:
            signal = trial.plan.signals[cell[1]]
            told = f"{verdict.kind.replace('_', ' ')}: {describe(trial.plan, verdict)}"
            yield cell, _chart(trial, cell, track, signal, told)


def _chart(trial: Trial, cell: Cell, track: Track, signal: Signal, told: str) -> Chart:
    scale, unit = (100.0, " %") if signal.kind in SHARES else (1.0, f" {signal.unit}" if signal.unit else "")
    deployed = trial.release.deploys[cell[0]].timestamp()
    candidate, history = track.points("candidate"), track.points("baseline")
    after = max([deployed, *(time for time, _ in candidate)]) - deployed
    baseline = [point for point in history if point[0] >= deployed - max(LEAST_BEFORE_S, after)]
    own = bool(candidate)  # a distribution has no rates of its own: what the judge says stands for them
    return Chart(
        title=f"{trial.release.service} {trial.candidate} · {cell[0]} · {signal.title}".strip(),
        subtitle=told if len(told) <= LONGEST else f"{told[: LONGEST - 1]}…",
        unit=unit,
        scale=scale,
        candidate=candidate or [(look.time, look.value) for look in track.looks if look.value is not None],
        baseline=baseline if own else [],
        level=_level(track, shown=not own or not _beside(trial, cell[0], baseline)),
        interval=_interval(track),
        evidence=[(look.time, look.log_e) for look in track.looks],
        combined=[(look.time, look.combined) for look in track.looks],
        threshold=trial.judgement.threshold,
        marks=tuple(_marks(trial, cell[0])),
    )


def _beside(trial: Trial, region: str, baseline: list[Point]) -> bool:
    return (
        bool(baseline)
        and baseline[-1][0] > trial.release.deploys[region].timestamp() + trial.plan.judging.block
    )


def _level(track: Track, *, shown: bool) -> list[Point]:
    return [(look.time, look.baseline) for look in track.looks if shown and look.baseline is not None]


def _interval(track: Track) -> list[Band]:
    """From a missing end on, the band goes to the axis or out of the picture."""
    found = []
    for look in track.looks:
        if look.low is not None or look.high is not None:
            found.append((look.time, look.low or 0.0, float("inf") if look.high is None else look.high))
    return found


def _marks(trial: Trial, region: str) -> Iterator[Mark]:
    yield Mark(time=trial.release.deploys[region].timestamp(), text="deploy", kind="deploy")
    if trial.release.harm_at is not None:
        yield Mark(time=trial.release.harm_at.timestamp(), text="harm began", kind="harm")
    for act in trial.acts:
        if act.what in _WORDS:
            kind = "deploy" if act.what == "promoted" else "decision"
            yield Mark(time=act.at.timestamp(), text=_WORDS[act.what], kind=kind)


def _file_name(trial: Trial, region: str, signal: str) -> str:
    release = f"{trial.release.began:%Y%m%dT%H%M}-{trial.release.version or trial.candidate}"
    name = f"{trial.release.service}-{release}-{region}-{signal}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:180]
