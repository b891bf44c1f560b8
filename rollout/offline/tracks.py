"""The series of a release that its plots are drawn from: constant memory, however long it runs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rollout.core.judge.samples import block_of
from rollout.core.plan import Plan
from rollout.core.signals import Judgement, Sample, SignalKind, Verdict
from rollout.offline.arms import Arms
from rollout.offline.survey import check_of

MOST_POINTS = 1200  # of one series; then neighbours are joined
MOST_SHOWN = 240  # points of one line, so that the lines of noisy minutes can be told apart
BEFORE = timedelta(hours=6)  # shown from before the deploy

Cell = tuple[str, str]  # region, signal


@dataclass(slots=True)
class Look:
    """What the judge said of one check at one time, in the unit of the signal."""

    time: float
    value: float | None
    baseline: float | None
    low: float | None
    high: float | None
    log_e: float
    combined: float


@dataclass(slots=True)
class Track:
    """One check in one region. `rates` maps an arm and a block to its events and exposure."""

    length: float
    candidate: dict[int, list[float]] = field(default_factory=dict)
    baseline: dict[int, list[float]] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)
    stride: int = 1
    told: int = 0

    def add(self, arm: str, time: float, events: float, exposure: float) -> None:
        """Count one sample into its block."""
        blocks = self.candidate if arm == "candidate" else self.baseline
        cell = blocks.setdefault(block_of(time, self.length), [0.0, 0.0])
        cell[0] += events
        cell[1] += exposure
        if len(blocks) > MOST_POINTS:
            self._coarser()

    def look(self, look: Look) -> None:
        """Keep one look of `stride`."""
        self.told += 1
        if self.told % self.stride:
            return
        self.looks.append(look)
        if len(self.looks) > MOST_POINTS:
            self.looks, self.stride = self.looks[1::2], self.stride * 2

    def points(self, arm: str) -> list[tuple[float, float]]:
        """End of each stretch of blocks and its rate, in order; of equal length for both arms."""
        blocks = self.candidate if arm == "candidate" else self.baseline
        length, every = self.length, {*self.candidate, *self.baseline}
        while every and max(every) - min(every) >= MOST_SHOWN:
            blocks, every, length = _halved(blocks), {block // 2 for block in every}, 2 * length
        return [((b + 1) * length, x / n) for b, (x, n) in sorted(blocks.items()) if n > 0]

    def _coarser(self) -> None:
        """Blocks twice as long: nothing is lost but detail."""
        self.length *= 2
        self.candidate, self.baseline = _halved(self.candidate), _halved(self.baseline)


class Tracks:
    """Collects the tracks of every check in every deployed region; nothing when it is not asked to."""

    def __init__(self, plan: Plan, arms: Arms, *, on: bool) -> None:
        self._plan, self._on = plan, on
        self._deploys = {region: each.deployed_at for region, each in arms.regions.items()}
        self._arms = {arms.candidate: "candidate", arms.baseline: "baseline"}
        self.tracks: dict[Cell, Track] = {}

    def add(self, samples: Iterable[Sample]) -> None:
        """Count samples of the deployed regions, from shortly before their deploy on."""
        for sample in samples if self._on else ():
            at, arm = self._deploys.get(sample.region), self._arms.get(sample.version)
            if at is None or arm is None or sample.instance or sample.time < at - BEFORE:
                continue
            kind = self._plan.signals[check_of(sample.signal)].kind
            if kind is SignalKind.DISTRIBUTION:
                continue  # its buckets have no rate of their own; the looks show the share that is slow
            track = self._track(sample.region, sample.signal)
            counted = kind in (SignalKind.RATIO, SignalKind.RATE)
            track.add(arm, sample.time.timestamp(), sample.value, sample.exposure if counted else 1.0)

    def judged(self, now: datetime, said: Judgement) -> None:
        """Keep what was said of each check."""
        for verdict in said.verdicts if self._on else ():
            self._track(verdict.region, verdict.signal).look(_look(now, verdict, said))

    def _track(self, region: str, signal: str) -> Track:
        if (region, signal) not in self.tracks:
            self.tracks[region, signal] = Track(self._plan.judging.block)
        return self.tracks[region, signal]


def _look(now: datetime, verdict: Verdict, said: Judgement) -> Look:
    return Look(
        time=now.timestamp(),
        value=verdict.value,
        baseline=verdict.baseline,
        low=_level(verdict.baseline, verdict.low),
        high=_level(verdict.baseline, verdict.high),
        log_e=verdict.log_e,
        combined=said.log_e,
    )


def _level(baseline: float | None, ratio: float | None) -> float | None:
    """An end of the interval of candidate over baseline, as a level of the candidate."""
    return None if baseline is None or ratio is None else baseline * ratio


def _halved(blocks: Mapping[int, list[float]]) -> dict[int, list[float]]:
    joined: dict[int, list[float]] = {}
    for block, (events, exposure) in blocks.items():
        cell = joined.setdefault(block // 2, [0.0, 0.0])
        cell[0] += events
        cell[1] += exposure
    return joined
