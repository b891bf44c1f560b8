"""Suspected harm: evidence that stops a rollout and wakes somebody, and is not enough to go back on alone.

People are told once of each check in each region; `Rollout.suspected` remembers of which. What they know
does not hold again after they resumed, until its evidence is gone: what comes after that is new.
"""

from collections.abc import Sequence

from rollout.core import reason as say
from rollout.core.decide.back import still_ours
from rollout.core.decide.blame import ranking
from rollout.core.decide.draft import Draft
from rollout.core.decide.waiting import hold
from rollout.core.machine import PHASES, Trigger
from rollout.core.model import CONTROLLER, ObligationKind, Phase
from rollout.core.signals import Verdict

GONE = 0.0  # nats: evidence of harm at or below it speaks for harm no more than against it


def act_on_suspicion(draft: Draft) -> None:
    """Hold and page for what people do not know of yet; a watch pages and goes on."""
    if not (Trigger.SUSPECTED in PHASES[draft.phase] or watching(draft)):
        return
    _forget_what_is_gone(draft)
    known = set(draft.rollout.suspected)
    found = draft.facts.judgement.suspected
    if not {cell(verdict) for verdict in found} - known:
        return
    draft.set(suspected=tuple(sorted(known | {cell(verdict) for verdict in found})))
    _tell(draft, sorted(found, key=lambda verdict: cell(verdict) in known))


def cell(verdict: Verdict) -> str:
    """What a suspicion is known by."""
    return f"{verdict.region}/{verdict.signal}"


def watching(draft: Draft) -> bool:
    """Whether a watch still judges this release where it is what runs."""
    owed = any(o.kind is ObligationKind.WATCH for o in draft.open_obligations())
    return draft.phase is Phase.SUCCEEDED and owed and bool(still_ours(draft))


def _tell(draft: Draft, found: Sequence[Verdict]) -> None:
    """The new ones first. A person's hold that ends only by a person stays theirs, and they are told."""
    release = draft.rollout.release
    reason = say.suspected(draft.plan, found, draft.rollout.id, watched=draft.phase is Phase.SUCCEEDED)
    remark = ranking(draft.rollout, found, draft.facts.overlapping)
    if draft.phase is Phase.SUCCEEDED or _stays_held(draft):
        text = f"{release.service} {release.version}: {reason.text}"
        draft.notify(say.joined(text, remark), urgent=True)
    else:
        hold(draft, Trigger.SUSPECTED, reason, remark=remark)


def _stays_held(draft: Draft) -> bool:
    held = draft.rollout.hold
    return held is not None and held.owner != CONTROLLER and (held.then != "resume" or held.expired)


def _forget_what_is_gone(draft: Draft) -> None:
    """What is neither suspected nor has any evidence left is over, and people are told, without a page."""
    judged = {cell(verdict): verdict for verdict in draft.facts.judgement.verdicts}
    suspected = {cell(verdict) for verdict in draft.facts.judgement.suspected}
    over = [
        name
        for name in draft.rollout.suspected
        if name in judged and name not in suspected and judged[name].log_e <= GONE
    ]
    if over:
        draft.set(suspected=tuple(name for name in draft.rollout.suspected if name not in over))
        text = say.cleared(draft.plan, [(judged[name].region, judged[name].signal) for name in over])
        draft.notify(f"{draft.rollout.release.service} {draft.rollout.release.version}: {text}")
