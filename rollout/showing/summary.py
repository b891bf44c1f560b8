"""Turns one case into one RolloutView: the words for state, next and blocked_by are made here, once.

Reasons come from core/reason.py as they were recorded. Nothing here reads the store.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from rollout.core import reason as say
from rollout.core.decide import in_the_way
from rollout.core.decide.blame import suspects, words
from rollout.core.decide.drift import came_again
from rollout.core.decide.target import spoiled_by
from rollout.core.judge import judge
from rollout.core.judge.alone import acts_at
from rollout.core.judge.suspects import Suspect
from rollout.core.model import (
    ActionState,
    KnownGood,
    ObligationKind,
    ObligationState,
    Outcome,
    Phase,
    RegionPhase,
    RegionRollout,
    Rollout,
)
from rollout.core.signals import Judgement, Verdict, VerdictKind
from rollout.foresight.sight import step_words
from rollout.foresight.traffic import Traffic
from rollout.ports import Case, Observed
from rollout.possible import possible_intents
from rollout.showing.barriers import awaited, gate_views, needs
from rollout.showing.checks import check_view
from rollout.showing.exposure import absence, bake, exposure, what_runs
from rollout.showing.retries import retried
from rollout.showing.upcoming import next_in_stage, rollback_effect, undeployed
from rollout.showing.views import (
    CheckView,
    Next,
    PolicyName,
    RegionView,
    RolloutView,
    StageView,
    SuspectView,
)

_PHASE_WORDS = {
    Phase.QUEUED: "waits for its turn",
    Phase.PREFLIGHT: "is proving its way back",
    Phase.PROGRESSING: "is moving",
    Phase.AWAITING_APPROVAL: "waits for approval",
    Phase.HELD: "is held",
    Phase.ROLLING_BACK: "is being rolled back",
    Phase.ROLLBACK_FAILED: "could not be rolled back",
}
_REGION_TROUBLE = {
    RegionPhase.UNREACHABLE: "does not answer",
    RegionPhase.RESTORE_FAILED: "could not be restored",
}
_HELD_FOR = {  # what held it, by the code of its reason; a person's hold says so itself
    "check.no_data": "no data",
    "check.suspected": "harm is suspected",
    "source.error": "it cannot be asked for its health",
    "bake.undecided": "harm is not ruled out",
    "bake.too_little": "too few requests",
    "bake.unjudged": "nothing was judged",
    "bake.uncompared": "nothing to compare with",
    "approval.expired": "nobody approved in time",
    "gate.failed": "a gate failed",
    "gate.unreported": "a gate was not reported",
    "observe.not_deployed": "nobody deployed it",
    "queue.expired": "waited too long in the queue",
    "queue.stopped": "a rollback stopped promotion",
    "queue.rolled_back_version": "the version was rolled back meanwhile",
    "hold.expired": "the time of the hold is over",
}
_CAUSE_MOST = 80  # characters of a cause inside the sentence
_GOING_ON = (Phase.PROGRESSING, Phase.AWAITING_APPROVAL, Phase.HELD, Phase.SUCCEEDED)
_GOING_BACK = (Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED)


def phase_words(phase: Phase) -> str:
    """A phase of another rollout as a person says it: "is being rolled back"."""
    return _PHASE_WORDS.get(phase, f"was {phase}" if phase is not Phase.SUCCEEDED else "has succeeded")


def _versions(regions: Sequence[RegionRollout]) -> str:
    """What these regions go back to."""
    found = sorted({r.back_to.release.version for r in regions if r.back_to})
    return " and ".join(found) or "what ran before"


def _suspect(suspect: Suspect) -> SuspectView:
    change = suspect.change
    return SuspectView(
        rollout=change.rollout_id,
        service=change.service,
        version=change.version,
        score=suspect.score,
        text=words(suspect),
    )


def _brief(text: str) -> str:
    """A reason inside a sentence: whole, else its own first sentence, else its first words."""
    whole = text.strip().rstrip(".")
    short = whole if len(whole) <= _CAUSE_MOST else whole.split(". ")[0]
    if len(short) <= _CAUSE_MOST:
        return short
    return f"{short[:_CAUSE_MOST].rsplit(' ', 1)[0].rstrip(',;:.')} …"


class RolloutReader:
    """Turns one case into one view."""

    def __init__(
        self,
        case: Case,
        others: Sequence[Rollout],
        observed: Mapping[tuple[str, str], Observed],
        now: datetime,
        traffic: Mapping[str, Traffic],
    ) -> None:
        self.case, self.others, self.observed, self.now = case, others, observed, now
        self.overlapping: Sequence[Rollout] = ()  # of any service, for the ranking of suspects
        self.replaced: Collection[str] = ()  # regions in which a newer release runs
        self.known_good: Mapping[str, Sequence[KnownGood]] = {}  # of each region, the newest first
        self.traffic = traffic
        self.rollout, self.plan = case.rollout, case.plan
        self.judgement = judge(self.plan, case.evidence, self._judged_at()) if case.evidence else Judgement()
        self.acts_at = acts_at(self.plan, case.evidence)

    def _judged_at(self) -> datetime:
        """Now, or when it ended: what goes back, or is not watched any more, is not judged anew."""
        rollout = self.rollout
        ended = rollout.finished_at if rollout.finished and not self._watched else None
        return rollout.decided_at or ended or self.now

    @property
    def blamed(self) -> tuple[Verdict, ...]:
        """The verdicts that speak of harm: enough to act on, or else suspected."""
        return self.judgement.culprits or self.judgement.suspected

    def view(self) -> RolloutView:
        """The whole view."""
        rollout = self.rollout
        return RolloutView(
            id=rollout.id,
            row_version=rollout.transitions,
            service=rollout.release.service,
            version=rollout.release.version,
            artifact=rollout.release.artifact,
            lock_digest=rollout.release.lock_digest,
            change_url=rollout.release.change_url,
            author=rollout.release.author,
            note=rollout.note,
            created_at=rollout.created_at,
            created_by=rollout.created_by,
            phase=rollout.phase,
            since=rollout.since,
            health=self._health(),
            outcome=rollout.outcome,
            sentence=self._sentence(),
            reason=rollout.reason,
            next=self._next(),
            blocked_by=tuple(self._blocked_by()),
            needs_person=self._needs_person(),
            possible=self._possible(),
            rollback_effect=self._rollback_effect(),
            exposure=exposure(self.case, self.judgement, self.now),
            stages=tuple(self._stage(i) for i in range(len(self.plan.stages))),
            policy=PolicyName(name=rollout.policy, revision=rollout.policy_revision),
            hold=rollout.hold,
            approval=rollout.approval,
            obligations=self.case.obligations,
            harm_since=rollout.harm_since,
            decided_at=rollout.decided_at,
            finished_at=rollout.finished_at,
            against=self._speaks_against(),
            suspects=self._suspects(),
            mode=self.plan.mode,
            would=rollout.would,
            gates=gate_views(self.case, self.now),
        )

    @property
    def _known(self) -> tuple[Verdict, ...]:
        """What is suspected and goes on all the same, as a person knows of it and resumed."""
        rollout = self.rollout
        stopped = rollout.phase is Phase.HELD and rollout.reason.code == "check.suspected"
        over = rollout.phase is Phase.SUCCEEDED and not self._watched
        if stopped or over or self.judgement.culprits or rollout.phase not in _GOING_ON:
            return ()
        return tuple(v for v in self.judgement.suspected if f"{v.region}/{v.signal}" in rollout.suspected)

    @property
    def _watched(self) -> bool:
        return any(o.kind is ObligationKind.WATCH and o.ended_at is None for o in self.case.obligations)

    def _resumed(self, found: Sequence[Verdict]) -> str:
        """Who let it go on with what is suspected; nothing where that came later."""
        at = self.rollout.resumed_at
        if at is None or not self.rollout.resumed_by or any(v.since and v.since > at for v in found):
            return ""
        return f"resumed by {self.rollout.resumed_by}"

    def _speaks_against(self) -> str:
        """Of harm where it goes on, also while harm is suspected; of health where it was stopped for harm."""
        verdicts = [v for r in self.plan.regions for v in self._verdicts(r)]
        return say.against(self.plan, verdicts, () if self._known else self.blamed)

    def _suspects(self) -> tuple[SuspectView, ...]:
        ranked = suspects(self.rollout, self.blamed, self.overlapping)
        return tuple(_suspect(suspect) for suspect in ranked) if len(ranked) > 1 else ()

    # ------------------------------------------------------------------ words

    def _sentence(self) -> str:
        suspected = say.still_suspected(self.plan, self._known, self._resumed(self._known))
        state = self._observed_state() if self.plan.observes else self._state()
        return f"{state} Suspected: {suspected}." if suspected else state

    def _observed_state(self) -> str:
        """The state of one that only observes: it moves, takes back and ends nothing."""
        rollout = self.rollout
        release = f"{rollout.release.service} {rollout.release.version}"
        touched = ", ".join(r.region for r in rollout.touched)
        stage = ", ".join(self.plan.stages[min(rollout.stage, len(self.plan.stages) - 1)].regions)
        would = " It would have been rolled back." if rollout.would else ""
        if rollout.phase is Phase.PROGRESSING:
            return f"{release} is observed in {stage}.{would}"
        if rollout.phase is Phase.SUCCEEDED:
            return f"{release} was observed in {touched}.{would}"
        if rollout.finished and touched:
            return f"{release} was observed in {touched} until it was {rollout.phase}.{would}"
        return f"{self._state()}{would}"

    def _state(self) -> str:
        release = f"{self.rollout.release.service} {self.rollout.release.version}"
        touched = ", ".join(r.region for r in self.rollout.touched)
        back = ", ".join(r.region for r in self._not_back()) or touched
        gone = "superseded" if self.rollout.outcome is Outcome.SUPERSEDED else "rolled back"
        stage = self.plan.stages[min(self.rollout.stage, len(self.plan.stages) - 1)]
        places = ", ".join(stage.regions)
        without_acting = touched and f"without acting; it had touched {touched}"  # a database was put back
        return {
            Phase.QUEUED: f"{release} waits for its turn.",
            Phase.PREFLIGHT: f"{release}: proving the way back. Nothing is touched yet.",
            Phase.PROGRESSING: f"{release} is moving through {places}.",
            Phase.AWAITING_APPROVAL: f"{release} waits for approval before {places} goes on.",
            Phase.HELD: f"{release} is held by {self._holder()}.".replace(" ….", " …"),
            Phase.ROLLING_BACK: f"{release} is being rolled back in {back}.",
            Phase.SUCCEEDED: self._where_it_runs(),
            Phase.ROLLED_BACK: f"{release} was {gone}{self._since_then()}.",
            Phase.ROLLBACK_FAILED: f"{release}: the rollback FAILED. Somebody must act now.",
            Phase.REJECTED: f"{release} was rejected before any region was touched.",
            Phase.CANCELED: f"{release} was canceled {without_acting or 'before any region was touched'}.",
            Phase.SUPERSEDED: f"{release} was superseded before any region was touched.",
        }[self.rollout.phase]

    def _where_it_runs(self) -> str:
        """In which regions it is since it succeeded, and where newer releases are."""
        release = f"{self.rollout.release.service} {self.rollout.release.version}"
        here = ", ".join(r.region for r in self.rollout.touched if r.region not in self.replaced)
        there = ", ".join(r.region for r in self.rollout.touched if r.region in self.replaced)
        if not there:
            return f"{release} runs in {here}."
        newer = f"newer releases are in {there}"
        return f"{release} runs in {here}; {newer}." if here else f"{release} has passed; {newer}."

    def _not_back(self) -> list[RegionRollout]:
        """Those that a rollback still has to bring back; a newer release may have taken over the others."""
        done = (RegionPhase.RESTORED, RegionPhase.PASSED)
        return [region for region in self.rollout.touched if region.phase not in done]

    def _holder(self) -> str:
        """Who holds it and why, in a few words: "controller: no data in R1"."""
        hold, reason = self.rollout.hold, self.rollout.reason
        if hold is None:
            return "nobody"
        cause = _HELD_FOR.get(reason.code) or _brief(hold.reason)
        where = f" in {reason.region}" if reason.region and reason.code in _HELD_FOR else ""
        return f"{hold.owner}: {cause}{where}" if cause else hold.owner

    def _since_then(self) -> str:
        """What users are on after a rollback, also where something else came after its end."""
        again = came_again(self.rollout)
        kept = [region for region in self.rollout.touched if region not in again]
        if not again:
            return f"; users are on {_versions(kept)}"
        runs = "; ".join(f"{r.region} runs {say.running(r.drift.running)}" for r in again if r.drift)
        users = f"; users of {', '.join(r.region for r in kept)} are on {_versions(kept)}" if kept else ""
        return f", but then came again: {runs}{users}"

    def _drifted(self) -> list[RegionRollout]:
        """Those that run something else, as people were told, while somebody must answer for them."""
        if self.rollout.phase is Phase.ROLLED_BACK:
            return list(came_again(self.rollout))
        watches = (o for o in self.case.obligations if o.kind is ObligationKind.WATCH and o.ended_at is None)
        left = {o.region for o in watches} if self.rollout.finished else set(self.plan.regions)
        found = (region for region in self.rollout.touched if region.drift and region.drift.told)
        return [region for region in found if region.region in left]

    def _drift(self, region: RegionRollout) -> str:
        assert region.drift is not None, "only what drifted is told"
        release, good = self.rollout.release.version, _versions((region,))
        ordered = good if region.phase is RegionPhase.RESTORED else f"{region.weight} % of {release}"
        since = say.clock(region.drift.since, self.now)
        return f"{region.region} runs {say.running(region.drift.running)} since {since}, and not {ordered}"

    def _next(self) -> Next | None:
        words: Mapping[Phase, Callable[[], Next | None]] = {
            Phase.PROGRESSING: lambda: next_in_stage(self.case, self.judgement, self.now),
            Phase.AWAITING_APPROVAL: self._next_approval,
            Phase.HELD: self._next_held,
            Phase.ROLLING_BACK: self._next_back,
            Phase.ROLLBACK_FAILED: self._next_failed,
            Phase.QUEUED: lambda: Next(what="Begins when its turn comes"),
            Phase.PREFLIGHT: lambda: Next(what=f"Then {', '.join(self.plan.stages[0].regions)}"),
        }
        found = words.get(self.rollout.phase, self._next_owed)()
        return replace(found, at=None) if found and found.at and found.at < self.now else found

    def _next_approval(self) -> Next | None:
        approval = self.rollout.approval
        if approval is None:
            return None
        then = "holds" if approval.otherwise == "hold" else "is rejected"
        return Next(what=f"Waits for approval, then {then}", at=approval.deadline)

    def _next_held(self) -> Next:
        hold = self.rollout.hold
        stands = spoiled_by(self.rollout, self.known_good) or self._drifted()
        if hold and hold.until and not hold.expired and hold.then == "resume" and not stands:
            return Next(what="Goes on by itself", at=hold.until)
        if hold and hold.still and self.rollout.touched:
            known = self.rollout.id
            return Next(
                what=f"Take it back: rollout rollback {known}; or let it go on: rollout resume {known}"
            )
        return Next(what="Stays held until somebody acts")

    def _next_back(self) -> Next:
        lost = [r for r in self.rollout.touched if r.phase is RegionPhase.UNREACHABLE]
        if lost:
            names = ", ".join(r.region for r in lost)
            said = " ".join(filter(None, (self._said(r) for r in lost))).rstrip(".")
            their, answer = ("its", "it answers") if len(lost) == 1 else ("their", "they answer")
            where = f"{names} ({said})" if said else names
            return Next(what=f"Mend {where}; {their} restore is tried until {answer}")
        left = [r.region for r in self._not_back()]
        return Next(what=f"Reads back {', '.join(left)} on the known good")

    def _next_failed(self) -> Next:
        stuck = [r.region for r in self.rollout.touched if r.phase is RegionPhase.RESTORE_FAILED]
        if not stuck:
            return self._next_back()
        return Next(what=f"Mend {', '.join(stuck)}, then: rollout rollback {self.rollout.id}")

    def _next_owed(self) -> Next | None:
        again = ", ".join(region.region for region in came_again(self.rollout))
        if again:
            return Next(what=f"Restore {again} again: rollout rollback {self.rollout.id}")
        owed = [o for o in self.case.obligations if o.state is ObligationState.OPEN]
        if not owed:
            return None
        last = max(owed, key=lambda o: o.until)
        words = "Watch ends" if last.kind is ObligationKind.WATCH else "Recovery is proven or paged"
        return Next(what=words, at=last.until)

    def _blocked_by(self) -> list[str]:
        rollout, found = self.rollout, []
        if rollout.phase in (Phase.QUEUED, Phase.PROGRESSING):
            found += [self._waits_for(other) for other in self._ahead()]
        if rollout.approval:
            found.append(needs(rollout.approval))
        if rollout.gate:
            found.append(awaited(self.case, self.now))
        found += undeployed(self.case, self.now)
        if rollout.hold:
            found.append(f"held by {rollout.hold.owner}: {rollout.hold.reason}")
        found += [self._drift(region) for region in self._drifted()]
        if rollout.phase is Phase.PROGRESSING:
            found += [self._check(v).text for v in self.judgement.verdicts if v.kind is VerdictKind.NO_DATA]
        if not rollout.finished:
            lost = {r.region for r in rollout.regions if r.phase in _REGION_TROUBLE}
            found += [f"{o.region}: {o.error}" for o in self._observed() if o.error and o.region not in lost]
        found += retried(
            self.case, self.now, frozenset(r.region for r in rollout.regions if r.phase in _REGION_TROUBLE)
        )
        if rollout.phase is Phase.CANCELED:  # a person ended it without acting: nothing is tried any more
            return found
        return found + [self._trouble(r) for r in rollout.regions if r.phase in _REGION_TROUBLE]

    def _trouble(self, region: RegionRollout) -> str:
        plain = f"{region.region} {_REGION_TROUBLE[region.phase]}"
        return region.trouble or ": ".join(filter(None, (plain, self._said(region))))

    def _ahead(self) -> Sequence[Rollout]:
        """Those that this one waits for: its turn in the queue, or, under way, a region being restored."""
        if self.rollout.phase is Phase.QUEUED:
            return in_the_way(self.rollout, self.others)
        wanted = {r.region for r in self.rollout.regions if not r.touched and r.stage == self.rollout.stage}
        others = (other for other in self.others if other.id != self.rollout.id)
        return [o for o in others if o.phase in _GOING_BACK and wanted & {r.region for r in o.touched}]

    def _waits_for(self, other: Rollout) -> str:
        mine = {region.region for region in self.rollout.regions}
        shared = [region.region for region in other.touched if region.region in mine]
        where = f" in {', '.join(shared)}" if other.phase in _GOING_BACK else ""
        return f"{other.id} ({other.release.version}) {phase_words(other.phase)}{where}"

    def _possible(self) -> tuple[str, ...]:
        return possible_intents(self.case, self.replaced, self.known_good)

    def _needs_person(self) -> bool:
        if self.rollout.phase in (Phase.AWAITING_APPROVAL, Phase.ROLLBACK_FAILED):
            return True
        if self.rollout.phase is Phase.CANCELED:
            return False
        if any(region.phase in _REGION_TROUBLE for region in self.rollout.regions):
            return True
        hold = self.rollout.hold
        if hold and (hold.expired or hold.still or hold.owner == "controller"):
            return True
        if self._drifted():
            return True
        return any(o.state is ObligationState.OVERDUE for o in self.case.obligations)

    def _rollback_effect(self) -> str:
        if "rollback" not in self._possible():
            return ""
        return rollback_effect(self.rollout, self.replaced, self.known_good)

    # ------------------------------------------------------------------ numbers

    def _health(self) -> VerdictKind:
        kinds = {v.kind for v in self.judgement.verdicts}
        if self.judgement.culprits or self.rollout.phase in (Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED):
            return VerdictKind.FAIL
        for kind in (VerdictKind.FAIL, VerdictKind.NO_DATA, VerdictKind.UNDECIDED, VerdictKind.PASS):
            if kind in kinds:
                return kind
        return VerdictKind.UNDECIDED

    def _stage(self, index: int) -> StageView:
        stage = self.plan.stages[index]
        regions = tuple(self._region(r, index) for r in self.rollout.regions if r.stage == index)
        return StageView(name=stage.name, regions=regions)

    def _region(self, region: RegionRollout, stage: int) -> RegionView:
        running, running_at = what_runs(region)
        return RegionView(
            region=region.region,
            title=self.plan.regions[region.region].title,
            phase=region.phase,
            since=region.since,
            running_version=" + ".join(sorted(running)) or None,
            running=running,
            running_at=running_at,
            weight=region.weight,
            back_to=region.back_to.release.version if region.back_to else None,
            step=region.step,
            steps=tuple(step_words(step) for step in self.plan.stages[stage].steps),
            bake=bake(self.case, region, self.traffic, self.now),
            touched_at=region.touched_at,
            passed_at=region.passed_at,
            restored_at=region.restored_at,
            message=region.trouble or absence(self.case, region, self.now) or self._said(region),
            checks=tuple(self._check(v) for v in self._verdicts(region.region)),
        )

    def _said(self, region: RegionRollout) -> str:
        """What its newest action says while it has not succeeded, else an older one that is still tried."""
        records = [
            record
            for record in reversed(self.case.actions)
            if (record.action.region, record.action.generation) == (region.region, region.generation)
        ]
        if records and records[0].state not in (ActionState.SUCCEEDED, ActionState.PENDING):
            return records[0].result.message
        tried = (record.result.message for record in records if record.state is ActionState.PENDING)
        return next(filter(None, tried), "")

    def _check(self, verdict: Verdict) -> CheckView:
        acts = self.acts_at.get((verdict.region, verdict.signal))
        return check_view(self.plan, verdict, acts, suspected=verdict in self.judgement.suspected)

    def _verdicts(self, region: str) -> list[Verdict]:
        """The verdicts of a region; of what is suspected those that say since when, and how much since."""
        suspected = {(v.region, v.signal): v for v in self.judgement.suspected}
        return [suspected.get((v.region, v.signal), v) for v in self.judgement.of(region)]

    def _observed(self) -> list[Observed]:
        service = self.rollout.release.service
        keys = [(service, r.region) for r in self.rollout.touched]
        return [self.observed[key] for key in keys if key in self.observed]
