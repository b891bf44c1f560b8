"""One past release from its deploy to its end: the product's own judge and decide, on recorded time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from rollout.core.judge import RegionEvidence, begin, hold_off, judge, update
from rollout.core.judge.evidence import without_peers
from rollout.core.model import RegionRollout
from rollout.core.plan import Plan
from rollout.core.policy import Bake
from rollout.core.signals import Judgement, Sample, Verdict, VerdictKind
from rollout.offline.arms import Arms
from rollout.offline.intake import HISTORY, Intake, Memory, moments
from rollout.offline.releases import PastRelease
from rollout.offline.samples import Row
from rollout.offline.tracks import Tracks
from rollout.offline.world import Act, World

MOST_CHANGES = 5000  # of verdicts that are kept; more are only counted
MOST_LOOKS = 100_000  # into a stretch without rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A verdict that is another one than before."""

    at: datetime
    before: VerdictKind
    verdict: Verdict


@dataclass(slots=True, kw_only=True)
class Trial:
    """What would have been done about one release, and on what evidence. Filled by `run`."""

    release: PastRelease
    plan: Plan
    candidate: str
    baseline: str
    notes: tuple[str, ...] = ()
    acts: tuple[Act, ...] = ()
    changes: list[Change] = field(default_factory=list)
    more_changes: int = 0
    judgement: Judgement = field(default_factory=Judgement)
    ended_at: datetime | None = None  # of the judging
    watch: str = ""

    @property
    def outcome(self) -> str:
        """The gravest thing done: rolled_back, held, promoted, or unfinished where the samples end before."""
        done = {act.what for act in self.acts}
        return next((what for what in ("rolled_back", "held", "promoted") if what in done), "unfinished")

    @property
    def decided(self) -> Act | None:
        """What made the outcome."""
        return next((act for act in self.acts if act.what == self.outcome), None)

    @property
    def paged(self) -> bool:
        """Whether people would have been woken, by a rollback, a hold or a page."""
        return any(act.what in ("rolled_back", "held", "paged") for act in self.acts)

    @property
    def days(self) -> float:
        """Days for which the release was judged."""
        return 0.0 if self.ended_at is None else (self.ended_at - self.release.began).total_seconds() / 86400

    @property
    def delay_s(self) -> float | None:
        """Seconds from the harm, else from the first deploy, to the decision; never negative."""
        if self.decided is None:
            return None
        since = self.release.harm_at or self.release.began
        return max(0.0, (self.decided.at - since).total_seconds())


class Run:
    """Takes the rows of one release in, moment by moment."""

    def __init__(self, trial: Trial, arms: Arms, intake: Intake, tracks: Tracks) -> None:
        self.trial, self._intake, self._tracks = trial, intake, tracks
        self._plan, self._deploys = trial.plan, trial.release.deploys
        self._world = World(
            trial.plan,
            service=trial.release.service,
            candidate=arms.candidate,
            baseline=arms.baseline,
            deploys=self._deploys,
        )
        self._plans = {
            name: trial.plan if region.beside else replace(trial.plan, holdback=0.0)
            for name, region in arms.regions.items()
        }
        self._memory: Memory | None = Memory(trial.plan, arms.candidate)
        self._evidence: dict[str, RegionEvidence] = {}
        self._kinds: dict[tuple[str, str], VerdictKind] = {}
        self._now = trial.release.began - HISTORY
        self._until = min(trial.release.ended_at or _horizon(trial), _horizon(trial))

    @property
    def over(self) -> bool:
        """Whether the rest of the rows changes nothing any more."""
        return self._world.over or self._now >= self._until

    def through(self, rows: Iterable[Row]) -> Trial:
        """Take all rows in, as far as they matter, and say what would have been done."""
        for time, group in moments(rows, self._now):
            if time > self._until or self.over:
                break
            self._take(time, group)
        return self._ended()

    def _take(self, time: datetime, group: Sequence[Row]) -> None:
        for moment in self._between(time):
            if not self.over:
                self._look(moment)
        if self.over:
            return
        samples = [sample for row in group if (sample := self._intake.sample(row)) is not None]
        self._tracks.add(samples)
        if self._memory is not None:
            for sample in samples:
                self._memory.add(sample)
        for region, known in self._evidence.items():
            self._evidence[region] = _updated(self._plans[region], known, samples)
        self._now = time
        if time >= self.trial.release.began:
            self._look(time)

    def _between(self, time: datetime) -> list[datetime]:
        """When to look although no row ends there: at deploys, and often enough to see what is missing."""
        began = self.trial.release.began
        deploys = {at for at in self._deploys.values() if self._now < at < time}
        if time <= began:
            return sorted(deploys)
        start = max(self._now, began)
        step = timedelta(seconds=_look_s(self._plan))
        looks = min(MOST_LOOKS, int((time - start) / step))
        return sorted(deploys | {at for n in range(1, looks + 1) if (at := start + n * step) < time})

    def _look(self, now: datetime) -> None:
        self._now = now
        self._world.stand(now)
        touched = {region.region for region in self._world.touched}
        for region in self._world.touched:
            known = self._evidence.get(region.region) or self._begin(region)
            known = without_peers(known, touched)
            self._evidence[region.region] = hold_off(known, region.judge_from or known.judged_from)
        if self._memory is not None and len(self._evidence) == len(self._deploys):
            self._memory = None  # nobody needs it any more
        said = judge(self._plan, self._evidence, now)
        self._world.look(said, now)
        self._note(said, now)

    def _begin(self, region: RegionRollout) -> RegionEvidence:
        assert self._memory is not None, "kept until every region has begun"
        name, at = region.region, self._deploys[region.region]
        return begin(
            self._plans[name],
            region=name,
            candidate=self.trial.candidate,
            baseline=self.trial.baseline,
            now=at,
            history=self._memory.before((name, *self._plan.peers(name)), at),
        )

    def _note(self, said: Judgement, now: datetime) -> None:
        self.trial.judgement = said
        self._tracks.judged(now, said)
        for verdict in said.verdicts:
            cell = (verdict.region, verdict.signal)
            before = self._kinds.get(cell, VerdictKind.UNDECIDED)
            if verdict.kind is before:
                continue
            self._kinds[cell] = verdict.kind
            if len(self.trial.changes) < MOST_CHANGES:
                self.trial.changes.append(Change(at=now, before=before, verdict=verdict))
            else:
                self.trial.more_changes += 1

    def _ended(self) -> Trial:
        self.trial.acts, self.trial.watch = tuple(self._world.acts), self._world.watch
        self.trial.ended_at = max(self._now, self.trial.release.began)
        return self.trial


def _updated(plan: Plan, known: RegionEvidence, samples: Sequence[Sample]) -> RegionEvidence:
    """The samples of a region and of its peers, each numbered once."""
    heard = {known.region, *known.peers}
    fresh = [sample for sample in samples if sample.region in heard]
    return update(plan, known, list(enumerate(fresh, start=known.seen + 1))) if fresh else known


def _horizon(trial: Trial) -> datetime:
    """When judging ends at the latest: every bake one after the other, a wait for data, the watch."""
    plan = trial.plan
    bakes = [step.max for stage in plan.stages for step in stage.steps if isinstance(step, Bake)]
    spare = 3 * plan.deadlines.blind + plan.judging.warmup
    return max(trial.release.deploys.values()) + timedelta(seconds=sum(bakes) + spare + plan.watch_s)


def _look_s(plan: Plan) -> float:
    """Seconds between looks where nothing is heard: a block, or a quarter of a sparser check's interval."""
    sparse = min((check.interval or 0.0) for check in plan.checks)
    return max(plan.judging.block, sparse / 4)
