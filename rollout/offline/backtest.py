"""Judges past releases, one after the other or several at once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path

from rollout.core.errors import InvalidInput, RolloutError
from rollout.core.model import Region
from rollout.core.policy import Policy
from rollout.core.signals import Signal
from rollout.offline.arms import who_is_who
from rollout.offline.charts import write_charts
from rollout.offline.intake import Intake
from rollout.offline.record import along, bake_s
from rollout.offline.releases import PastRelease
from rollout.offline.samples import Progress, Recording, SamplesFile, Unusable
from rollout.offline.survey import Survey, survey
from rollout.offline.tracks import Tracks
from rollout.offline.trial import Run, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What releases are judged by."""

    policy: Policy
    regions: Mapping[str, Region] = field(default_factory=dict)
    signals: Mapping[str, Signal] = field(default_factory=dict)
    plots: Path | None = None
    all_plots: bool = False  # else only those that went against their label, or have none and were stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One release: what would have been done about it, or why that cannot be told."""

    release: PastRelease
    trial: Trial | None = None
    rows: int = 0
    unusable: tuple[tuple[str, int, int], ...] = ()
    plots: tuple[str, ...] = ()
    problem: str = ""

    @property
    def wrong(self) -> bool:
        """Whether a harmful one was not rolled back, or people were woken for a harmless one."""
        if self.trial is None or self.release.bad is None:
            return False
        return self.trial.outcome != "rolled_back" if self.release.bad else self.trial.paged

    @property
    def unknown(self) -> bool:
        """Whether people were woken and nobody knows if that was right."""
        return self.trial is not None and self.release.bad is None and self.trial.paged


def judge_release(
    rules: Rules,
    release: PastRelease,
    recording: Recording,
    found: Survey,
    *,
    candidate: str | None = None,
    baseline: str | None = None,
) -> Result:
    """Run one release through judge and decide. Raises InvalidInput when it cannot be."""
    arms = who_is_who(found, release, bake_s=bake_s(rules.policy), candidate=candidate, baseline=baseline)
    plan, notes = along(rules.policy, found, arms, regions=rules.regions, signals=rules.signals)
    trial = Trial(release=release, plan=plan, candidate=arms.candidate, baseline=arms.baseline, notes=notes)
    unusable = Unusable()
    tracks = Tracks(plan, arms, on=rules.plots is not None)
    trial = Run(trial, arms, Intake(plan, arms, found, unusable), tracks).through(recording)
    result = Result(
        release=release, trial=trial, rows=found.rows, unusable=tuple(chain(recording.unusable, unusable))
    )
    if rules.plots is None or not (rules.all_plots or result.wrong or result.unknown):
        return result
    return replace(result, plots=write_charts(rules.plots, trial, tracks.tracks))


def judge_file(
    rules: Rules,
    release: PastRelease,
    path: Path,
    progress: Progress | None = None,
    *,
    candidate: str | None = None,
    baseline: str | None = None,
) -> Result:
    """One release out of a samples file, which is read twice: to see what it holds, and to judge it."""
    if progress is None:
        found = _surveyed(path)
        recording = SamplesFile(path)
    else:
        found = survey(SamplesFile(path, lambda part: progress(part / 4)))  # reading is the smaller work
        recording = SamplesFile(path, lambda part: progress(0.25 + 0.75 * part))
    return judge_release(rules, release, recording, found, candidate=candidate, baseline=baseline)


def judge_all(
    rules: Rules, releases: Sequence[PastRelease], directory: Path, *, jobs: int = 1
) -> Iterator[Result]:
    """Each release in turn, in the order given. One that cannot be judged says why and stops no other."""
    work = _Work(rules, directory)
    if jobs == 1 or len(releases) == 1:
        yield from map(work, releases)
        return
    with ProcessPoolExecutor(max_workers=min(jobs, len(releases))) as pool:
        yield from pool.map(work, releases)


@dataclass(frozen=True, slots=True)
class _Work:
    """What a process of its own does for one release."""

    rules: Rules
    directory: Path

    def __call__(self, release: PastRelease) -> Result:
        return tried(release, lambda: judge_file(self.rules, release, self.directory / release.file))


def tried(release: PastRelease, work: Callable[[], Result]) -> Result:
    """The result, or the release with what stood in the way."""
    try:
        return work()
    except InvalidInput as error:
        return Result(release=release, problem=" ".join(str(error).split()))
    except RolloutError as error:
        return Result(release=release, problem=str(error))


@lru_cache(maxsize=4)
def _surveyed(path: Path) -> Survey:
    """Releases of one file come one after the other: it is surveyed once."""
    return survey(SamplesFile(path))
