"""What people and pipelines may ask for. Every command checks whether it fits NOW and records an intent.

What must not live here: writing a phase (only the reconciler does), or who may call (api/deps.py).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rollout.adopting import FRESH_S, adoptable, refuse_rolled_back
from rollout.config import Configuration, refuse_unreadable
from rollout.core import reason as say
from rollout.core.errors import Conflict, InvalidInput, NotAllowed, NotFound, Problem, StaleWrite
from rollout.core.machine import PHASES, Trigger
from rollout.core.model import (
    Intent,
    IntentKind,
    KnownGood,
    Phase,
    RegionRollout,
    Release,
    Rollout,
    Service,
    Transition,
)
from rollout.core.plan import Plan, compile_plan
from rollout.foresight.sight import unseen, writes_tolerance
from rollout.foresight.traffic import read_traffic
from rollout.ids import new_id
from rollout.ports import Case, Clock, Store
from rollout.possible import (
    Actor,
    as_recorded,
    impossible,
    may_approve,
    may_reject,
    refuse_beside_harm,
    refuse_unbaked,
    stage_of_gate,
    stays_by_word,
)
from rollout.successors import replaced_in

RECENT = 50  # rollouts in which the artifact of a version that is adopted is looked for
AT_ONCE = 5  # tries of one start, where others at the same moment come first
_TRIGGERS = {
    IntentKind.HOLD: (Trigger.HOLD,),
    IntentKind.RESUME: (Trigger.RESUME, Trigger.REQUEUE),
    IntentKind.CANCEL: (Trigger.CANCEL, Trigger.DISOWN),
    IntentKind.PROMOTE: (Trigger.PROMOTE,),
    IntentKind.ROLLBACK: (Trigger.ROLLBACK, Trigger.CANCEL),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """A release to move. `override` is the reason to start a version that was rolled back before."""

    release: Release
    policy: str | None = None
    note: str = ""
    override: str = ""


class Commands:
    """Records what was asked. `changed` is called after each record, so that the reconciler looks at once."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        configuration: Callable[[], Configuration],
        changed: Callable[[], None] = lambda: None,
        fresh_s: float = FRESH_S,
    ) -> None:
        self._store, self._clock, self._configuration = store, clock, configuration
        self._changed, self._fresh_s = changed, fresh_s

    # ------------------------------------------------------------------ rollouts

    async def plan(self, request: StartRequest) -> Plan:
        """Compile the plan that `start` would store. Raises NotFound and InvalidInput."""
        configuration = self._configuration()
        service = await self._store.service(request.release.service)
        return compile_for(configuration, service, request.policy or service.policy)

    async def start(self, request: StartRequest, actor: Actor) -> Rollout:
        """Record a new rollout. Raises NotFound, InvalidInput, NotAllowed and Conflict."""
        plan = await self.plan(request)
        await self._refuse_known_bad(request, actor)
        await self._refuse_already_running(request.release, plan)
        _refuse_unpinned(self._configuration(), plan, request.release)
        await self._refuse_unseen(request.release.service, plan)
        for _ in range(AT_ONCE):
            with suppress(StaleWrite):  # another was started since it was looked what is under way
                return await self._start(request, plan, actor)
        raise Conflict(
            f"Nothing was started: other rollouts of {request.release.service} came first, {AT_ONCE} times "
            "in a row. See which are under way, and start it again.",
            "rollout-active",
        )

    async def _start(self, request: StartRequest, plan: Plan, actor: Actor) -> Rollout:
        ahead = await self._ahead(request.release.service, plan)
        now = self._clock.now()
        rollout = new_rollout(request, plan, actor, now)
        first = Transition(
            rollout_id=rollout.id,
            number=1,
            at=now,
            region=None,
            from_phase="",
            to_phase=Phase.QUEUED,
            trigger=Trigger.START,
            actor=actor.name,
            reason=rollout.reason,
        )
        superseding = plan.concurrency == "supersede"
        beside = None if plan.concurrency == "queue" else {other.id for other in ahead}
        intents = [_supersede(other, rollout, actor, now) for other in ahead] if superseding else []
        await self._store.add(rollout, plan, first, intents, beside)
        self._changed()
        return rollout

    async def hold(
        self,
        rollout_id: str,
        actor: Actor,
        reason: str,
        *,
        for_s: float | None = None,
        then: str = "hold",
        seen: int | None = None,
    ) -> Intent:
        """Stop a rollout; `then` (hold or resume) happens when `for_s` seconds are over."""
        until = self._clock.now() + timedelta(seconds=for_s) if for_s else None
        return await self._ask(IntentKind.HOLD, rollout_id, actor, reason, until=until, then=then, seen=seen)

    async def resume(self, rollout_id: str, actor: Actor, reason: str, *, seen: int | None = None) -> Intent:
        """Let a held rollout go on. Raises Conflict where beside it runs what was rolled back itself."""
        case = await self._store.case(rollout_id)
        if Trigger.RESUME in PHASES[case.rollout.phase]:
            refuse_beside_harm(case, await self._known_good(case))
        return await self._ask(IntentKind.RESUME, rollout_id, actor, reason, seen=seen)

    async def promote(
        self,
        rollout_id: str,
        actor: Actor,
        reason: str,
        *,
        region: str | None = None,
        seen: int | None = None,
    ) -> Intent:
        """End the bakes under way now, of one region or of all: an override, kept with its reason.

        Raises Conflict when no bake is under way there, and as `resume` does.
        """
        case = await self._store.case(rollout_id)
        if Trigger.PROMOTE in PHASES[case.rollout.phase]:
            refuse_unbaked(case, region)
            refuse_beside_harm(case, await self._known_good(case))
        return await self._ask(IntentKind.PROMOTE, rollout_id, actor, reason, region=region, seen=seen)

    async def retry(self, rollout_id: str, actor: Actor, reason: str, *, seen: int | None = None) -> Rollout:
        """Start the release of an ended rollout again, under the policy as it is now; or restore again.

        Returns the new rollout; the same one where a rollback that failed is tried again. A version that was
        rolled back needs the role admin, and `reason` becomes its override. Raises as `start` does, and
        Conflict for one that has not ended, or succeeded.
        """
        case = await self._store.case(rollout_id)
        rollout = case.rollout
        if rollout.phase is Phase.ROLLBACK_FAILED:
            await self._ask(IntentKind.ROLLBACK, rollout_id, actor, reason, seen=seen)
            return rollout
        if not rollout.finished or rollout.phase is Phase.SUCCEEDED:
            raise impossible(case, "retry")
        before = await self._store.was_rolled_back(rollout.release.service, rollout.release.version)
        request = StartRequest(
            release=rollout.release,
            policy=rollout.policy,
            note=f"Again after {rollout.id}: {reason}",
            override=reason if before else "",
        )
        return await self.start(request, actor)

    async def report_gate(
        self,
        rollout_id: str,
        actor: Actor,
        gate: str,
        status: str,
        *,
        region: str | None = None,
        url: str = "",
        message: str = "",
    ) -> Intent:
        """Record the result (passed or failed) of a gate of the plan; the newest report counts.

        It is for the stage of `region`, which may be left out where one stage alone has the gate. Raises
        NotFound for a gate that the plan does not have there, Conflict once the rollout has ended.
        """
        case = await self._store.case(rollout_id)
        if case.rollout.finished:
            raise impossible(case, "gate")
        stage = stage_of_gate(case, gate, region)
        details = {"gate": gate, "stage": stage, "status": status, "url": url}
        return await self._ask(IntentKind.GATE, rollout_id, actor, message, region=region, details=details)

    async def note(self, rollout_id: str, actor: Actor, text: str) -> Intent:
        """Put a remark into the timeline of a rollout, also of one that has ended."""
        return await self._ask(IntentKind.NOTE, rollout_id, actor, text)

    async def rollback(
        self, rollout_id: str, actor: Actor, reason: str, *, seen: int | None = None
    ) -> Intent:
        """Restore every touched region; needs no approval and waits for nothing.

        After the end of a rollback it restores what drifted since, as people were told.
        Raises Conflict when newer releases have replaced it everywhere: there is nothing of it to take back;
        and for one that only observes.
        """
        case = await self._store.case(rollout_id)
        if case.plan.observes:
            raise Conflict(
                f"{rollout_id} only observes, so nothing of it can be taken back here. Roll back with what "
                "deployed it; cancel ends the observation.",
                "observes",
            )
        replaced = await replaced_in(self._store, case.rollout)
        if replaced and replaced >= {region.region for region in case.rollout.touched}:
            names = ", ".join(sorted(region.region for region in case.rollout.touched))
            raise Conflict(
                f"{case.rollout.release.version} runs nowhere any more: newer releases are in "
                f"{names}. Roll back the newest one instead.",
                "replaced",
            )
        return await self._ask(IntentKind.ROLLBACK, rollout_id, actor, reason, seen=seen)

    async def cancel(self, rollout_id: str, actor: Actor, reason: str, *, seen: int | None = None) -> Intent:
        """End a rollout that has touched no region. Raises Conflict naming rollback once one is.

        One that only observes has nothing to take back, and can always be canceled. So can one in a region
        that is in doubt, and one that was adopted wherever its way back failed: it ends without acting.
        """
        case = await self._store.case(rollout_id)
        doubt = await self._in_doubt(case)
        if doubt:
            details: dict[str, Any] = {"disown": True, "doubt": doubt}
            return await self._ask(IntentKind.CANCEL, rollout_id, actor, reason, seen=seen, details=details)
        if stays := stays_by_word(case.rollout, await self._known_good(case)):
            details = {"disown": True, "stays": stays}
            return await self._ask(IntentKind.CANCEL, rollout_id, actor, reason, seen=seen, details=details)
        if case.rollout.touched and not case.rollout.finished and not case.plan.observes:
            names = ", ".join(region.region for region in case.rollout.touched)
            raise Conflict(
                f"{names} runs {case.rollout.release.version} already, so there is something to take back: "
                "use rollback.",
                "touched",
            )
        return await self._ask(IntentKind.CANCEL, rollout_id, actor, reason, seen=seen)

    async def decide_approval(
        self,
        rollout_id: str,
        actor: Actor,
        decision: IntentKind,
        reason: str,
        *,
        seen: int | None = None,
    ) -> Intent:
        """Approve or reject. Raises NotAllowed for one's own release or a missing group, and Conflict."""
        at = self._clock.now()  # before looking, so that it never counts for an approval that is asked later
        case = await self._store.case(rollout_id)
        if decision is IntentKind.APPROVE:
            may_approve(case, actor, at)
        elif not may_reject(case.rollout):
            raise impossible(case, "reject")
        asked = {"approval": case.rollout.approval.id} if case.rollout.approval else {}
        return await self._ask(decision, rollout_id, actor, reason, at=at, seen=seen, details=asked)

    # ------------------------------------------------------------------ services

    async def put_service(self, service: Service) -> Service:
        """Declare a service, or change its declaration. Raises InvalidInput and StaleWrite."""
        compile_for(self._configuration(), service, service.policy)
        return await self._store.put_service(service)

    async def adopt(
        self, service: str, actor: Actor, reason: str, regions: Sequence[str] = (), override: str = ""
    ) -> tuple[KnownGood, ...]:
        """Call what runs now known good, in all of the regions or in none. Raises Conflict as `adoptable`.

        `override` is the reason to adopt a version that was rolled back before; it needs the role admin.
        """
        declared = await self._store.service(service)
        now = self._clock.now()
        asked = tuple(dict.fromkeys(regions)) or declared.regions or tuple(self._configuration().regions)
        found = await adoptable(self._store, service, asked, now, self._fresh_s)
        await refuse_rolled_back(self._store, found, actor.role, override)
        released = await self._store.rollouts(service=service, limit=RECENT)
        adopted = tuple(
            KnownGood(
                service=service,
                region=known.region,
                release=as_recorded(service, next(iter(known.running)), released),
                since=now,
                how="adopted",
                by=f"{actor.name}: {reason}" + (f" (override: {override})" if override else ""),
            )
            for known in found
        )
        await self._store.adopt(adopted, found)
        self._changed()
        return adopted

    # ------------------------------------------------------------------ checks

    async def _ask(
        self,
        kind: IntentKind,
        rollout_id: str,
        actor: Actor,
        reason: str,
        *,
        until: datetime | None = None,
        then: str = "hold",
        at: datetime | None = None,
        region: str | None = None,
        seen: int | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Intent:
        """Record what was asked. Raises StaleWrite when the rollout moved on since `seen`."""
        now = at or self._clock.now()
        case = await self._store.case(rollout_id)
        triggers = _TRIGGERS.get(kind, ())
        again = kind is IntentKind.ROLLBACK and case.rollout.phase is Phase.ROLLING_BACK
        if triggers and not again and not any(t in PHASES[case.rollout.phase] for t in triggers):
            raise impossible(case, kind)
        intent = Intent(
            id=new_id("in", now),
            rollout_id=rollout_id,
            kind=kind,
            actor=actor.name,
            reason=reason,
            at=now,
            region=region,
            until=until,
            then=then,
            seen=seen,
            details=details or {},
        )
        await self._store.ask(intent)
        self._changed()
        return intent

    async def _in_doubt(self, case: Case) -> str:
        """Why regions that it touched are in doubt; empty when none is."""
        touched = {region.region for region in case.rollout.touched}
        known = await self._store.service_regions(case.rollout.release.service)
        doubts = (pair.doubt.text for pair in known if pair.doubt is not None and pair.region in touched)
        return "; ".join(dict.fromkeys(doubts))

    async def _known_good(self, case: Case) -> Mapping[str, Sequence[KnownGood]]:
        known = await self._store.service_regions(case.rollout.release.service)
        return {one.region: one.known_good for one in known}

    async def _refuse_known_bad(self, request: StartRequest, actor: Actor) -> None:
        release = request.release
        before = await self._store.was_rolled_back(release.service, release.version)
        if before is None:
            return
        if not request.override:
            raise Conflict(
                f"{release.service} {release.version} was rolled back by {before}. Release a new version, or "
                "let an admin start it again with an override and its reason.",
                "version-rolled-back",
            )
        if actor.role != "admin":
            raise NotAllowed(
                f"Starting {release.version} again after {before} needs the role admin, not {actor.role}."
            )

    async def _refuse_unseen(self, service: str, plan: Plan) -> None:
        """Refuse a tolerance that the author wrote and that no bake can see at the present traffic."""
        if not writes_tolerance(plan):
            return
        carried = await read_traffic(self._store, service, plan, self._clock.now(), days=True)
        policy = self._configuration().policies[plan.policy].policy
        problems = tuple(each.problem for each in unseen(plan, policy, carried) if not each.accepted)
        if problems:
            raise InvalidInput(
                f"Policy {plan.policy} asks for what its bakes cannot see; nothing was started.", problems
            )

    async def _refuse_already_running(self, release: Release, plan: Plan) -> None:
        known = {k.region: k for k in await self._store.service_regions(release.service)}
        good = {
            name: known[name].known_good[0].release.version
            for name in plan.regions
            if name in known and known[name].known_good
        }
        if good and len(good) == len(plan.regions) and set(good.values()) == {release.version}:
            raise Conflict(
                f"{release.service} {release.version} already runs, as known good, in {', '.join(good)}.",
                "already-running",
            )

    async def _ahead(self, service: str, plan: Plan) -> tuple[Rollout, ...]:
        mine = set(plan.regions)
        ahead = tuple(
            other
            for other in await self._store.active(service)
            if mine & {region.region for region in other.regions}
        )
        if ahead and plan.concurrency == "reject":
            raise Conflict(
                f"{ahead[0].id} ({service} {ahead[0].release.version}) is {ahead[0].phase}, and policy "
                f"{plan.policy} allows one at a time. Wait for it, or end it first.",
                "rollout-active",
            )
        return ahead


def compile_for(configuration: Configuration, service: Service, policy: str) -> Plan:
    """The plan of `policy` for a service. Raises NotFound listing the policies, and InvalidInput."""
    if policy not in configuration.policies:
        known = ", ".join(sorted(configuration.policies))
        raise NotFound("policy", policy, f"Known: {known}.")
    unknown = sorted(set(service.regions) - set(configuration.regions))
    if unknown:
        known = ", ".join(sorted(configuration.regions))
        raise InvalidInput(
            f"Service {service.name} names unknown regions.",
            (Problem("/regions", f"unknown: {', '.join(unknown)}; known: {known}"),),
        )
    file = configuration.policies[policy]
    plan = compile_plan(
        file.policy,
        configuration.regions,
        configuration.signals_for(service),
        revision=file.revision,
        only=service.regions,
    )
    refuse_unreadable(file.policy, plan)
    return plan


def new_rollout(request: StartRequest, plan: Plan, actor: Actor, now: datetime) -> Rollout:
    """What `start` records for `request`, as it stands before anything was looked at."""
    release = request.release
    text = f"{actor.name} asked for {release.service} {release.version} under policy {plan.policy}."
    return Rollout(
        id=new_id("ro", now),
        release=release,
        policy=plan.policy,
        policy_revision=plan.revision,
        phase=Phase.QUEUED,
        since=now,
        created_at=now,
        created_by=actor.name,
        note=request.note,
        override=request.override,
        regions=tuple(
            RegionRollout(region=name, stage=index, since=now)
            for index, stage in enumerate(plan.stages)
            for name in stage.regions
        ),
        reason=say.plain("started", text),
        transitions=1,
        next_due_at=now,
    )


def _supersede(other: Rollout, newer: Rollout, actor: Actor, now: datetime) -> Intent:
    return Intent(
        id=new_id("in", now),
        rollout_id=other.id,
        kind=IntentKind.SUPERSEDE,
        actor=actor.name,
        reason=f"{newer.id} brings {newer.release.version} and takes its place.",
        at=now,
    )


def _refuse_unpinned(configuration: Configuration, plan: Plan, release: Release) -> None:
    policy = configuration.policies[plan.policy].policy
    if policy.require_digest and not release.pinned:
        raise InvalidInput(
            f"Policy {plan.policy} wants an artifact that is pinned by digest.",
            (Problem("/artifact", "give its sha256 with all 64 digits: pkg:oci/mail-sender@sha256%3A…"),),
        )
