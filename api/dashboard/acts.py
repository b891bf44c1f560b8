"""What a person can do on the page: the words of each button, and the one command it stands for."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from rollout.access import ROLES, Permission
from rollout.commands import Commands
from rollout.core.model import Intent, IntentKind, Phase, RegionPhase, Rollout, person
from rollout.ports import Token
from rollout.possible import Actor
from rollout.showing.views import ApprovalView, RolloutView

HOLD_MOST_S = 7 * 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a confirmation sends: why, and for a hold how long (0 is without end) and what happens then.

    `seen` is the row version that was shown: the database refuses when it is another one by now.
    """

    reason: str
    for_s: int = 0
    then: str = "hold"
    seen: int | None = None


Act = Callable[[Commands, str, Actor, Form], Awaitable[Intent | Rollout]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One verb. `tone` is how its button looks; `explain` says what happens, below the form's title.

    `guarded`: refused when the rollout changed since the form was shown. `why`: a reason must be given.
    `always`: fits every phase, and stands beside the timeline instead of in the bar.
    """

    name: str
    permission: Permission
    tone: str
    explain: str
    act: Act
    guarded: bool = False
    why: bool = True
    always: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """A verb as it stands for one rollout, named by its effect."""

    verb: Verb
    label: str
    href: str


async def _hold(commands: Commands, rollout_id: str, actor: Actor, form: Form) -> Intent:
    return await commands.hold(rollout_id, actor, form.reason, for_s=form.for_s or None, then=form.then)


async def _resume(commands: Commands, rollout_id: str, actor: Actor, form: Form) -> Intent:
    return await commands.resume(rollout_id, actor, form.reason, seen=form.seen)


async def _roll_back(commands: Commands, rollout_id: str, actor: Actor, form: Form) -> Intent:
    return await commands.rollback(rollout_id, actor, form.reason)


async def _cancel(commands: Commands, rollout_id: str, actor: Actor, form: Form) -> Intent:
    return await commands.cancel(rollout_id, actor, form.reason)


async def _approve(commands: Commands, rollout_id: str, actor: Actor, form: Form) -> Intent:
    return await commands.decide_approval(rollout_id, actor, IntentKind.APPROVE, form.reason, seen=form.seen)


async def _reject(commands: Commands, rollout_id: str, actor: Actor, form: Form) -> Intent:
    return await commands.decide_approval(rollout_id, actor, IntentKind.REJECT, form.reason, seen=form.seen)


async def _promote(commands: Commands, rollout_id: str, actor: Actor, form: Form) -> Intent:
    return await commands.promote(rollout_id, actor, form.reason, seen=form.seen)


async def _retry(commands: Commands, rollout_id: str, actor: Actor, form: Form) -> Rollout:
    return await commands.retry(rollout_id, actor, form.reason, seen=form.seen)


async def _note(commands: Commands, rollout_id: str, actor: Actor, form: Form) -> Intent:
    return await commands.note(rollout_id, actor, form.reason)


VERBS: Mapping[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            name="approve",
            permission=Permission.DECIDE,
            tone="go",
            explain="The rollout goes on as planned. It stays under judgement and can be rolled back.",
            act=_approve,
            guarded=True,
        ),
        Verb(
            name="resume",
            permission=Permission.DECIDE,
            tone="go",
            explain="The hold ends and the rollout goes on where it stood.",
            act=_resume,
            guarded=True,
        ),
        Verb(
            name="promote",
            permission=Permission.DECIDE,
            tone="plain",
            explain="The bake ends now, before the checks have seen what it was to show them. It is kept as "
            "your override. Judging goes on, and harm rolls it back.",
            act=_promote,
            guarded=True,
        ),
        Verb(
            name="retry",
            permission=Permission.START,
            tone="plain",
            explain="The same release starts again as a new rollout, from its first region, by the policy as "
            "it is now. A version that was rolled back needs an admin, whose reason is kept as the override.",
            act=_retry,
            guarded=True,
        ),
        Verb(
            name="hold",
            permission=Permission.DECIDE,
            tone="plain",
            explain="Nothing new is deployed until it is resumed. Judging goes on, and harm rolls it back.",
            act=_hold,
        ),
        Verb(
            name="reject",
            permission=Permission.DECIDE,
            tone="plain",
            explain="The rollout ends. Regions that were touched are restored to their known good first.",
            act=_reject,
            guarded=True,
        ),
        Verb(
            name="cancel",
            permission=Permission.START,
            tone="plain",
            explain="The rollout ends, and nothing is done in any region.",
            act=_cancel,
        ),
        Verb(
            name="rollback",
            permission=Permission.ROLL_BACK,
            tone="back",
            explain="Every touched region is restored and read back on its known good. "
            "It needs no approval, waits for nothing, and is never itself rolled back.",
            act=_roll_back,
            why=False,
        ),
        Verb(
            name="note",
            permission=Permission.REPORT,
            tone="plain",
            explain="It is kept in the timeline with your name and the time, and changes nothing.",
            act=_note,
            always=True,
        ),
    )
}


def label(view: RolloutView, verb: str) -> str:
    """What the button of `verb` does to this rollout."""
    return _LABELS[verb](view)


def _rejects(view: RolloutView) -> str:
    return f"Reject, {_lower_first(view.rollback_effect)}" if view.rollback_effect else "Reject"


def _promotes(view: RolloutView) -> str:
    baking = [r.region for r in view.regions if r.phase is RegionPhase.BAKING]
    return f"End the bake of {', '.join(baking)} now" if baking else "End the bake now"


def _starts_again(view: RolloutView) -> str:
    failed = view.phase is Phase.ROLLBACK_FAILED
    return "Try to restore again" if failed else f"Start {view.version} again"


_LABELS: Mapping[str, Callable[[RolloutView], str]] = {
    "approve": lambda view: f"Approve {_awaited(view)}",
    "resume": lambda view: f"Resume {view.version}",
    "promote": _promotes,
    "retry": _starts_again,
    "hold": lambda view: "Take over the hold" if view.phase is Phase.HELD else "Hold",
    "reject": _rejects,
    "cancel": lambda view: f"Cancel {view.version}",
    "rollback": lambda view: view.rollback_effect or f"Roll back {view.version}",
    "note": lambda _: "Add a note",
}


def allowed(view: RolloutView, token: Token, verb: str) -> bool:
    """Whether the state and the token both permit `verb`."""
    narrowed = token.services and view.service not in token.services
    fits = verb in view.possible or VERBS[verb].always
    return fits and VERBS[verb].permission in ROLES[token.role] and not narrowed


def buttons(view: RolloutView, token: Token) -> tuple[Button, ...]:
    """The buttons of the bar: the one that goes on first, the way back last."""
    offered = (name for name, verb in VERBS.items() if not verb.always and allowed(view, token, name))
    return tuple(button(view, name) for name in offered)


def button(view: RolloutView, verb: str) -> Button:
    """One verb for one rollout."""
    href = f"/rollouts/{view.id}/{verb}"
    if verb == "approve" and view.approval and view.approval.id:
        href = f"/a/{view.approval.id}"  # the same screen that a notice leads to
    return Button(verb=VERBS[verb], label=label(view, verb), href=href)


def withheld(view: RolloutView, token: Token) -> str:
    """What fits the state and the token may not do, and who may; empty when there is nothing."""
    missing = [name for name in VERBS if name in view.possible and not allowed(view, token, name)]
    if not missing:
        return ""
    able = [role for role, may in ROLES.items() if any(VERBS[name].permission in may for name in missing)]
    return f"{token.name} is {token.role}. To {', '.join(missing)}, ask somebody who is {' or '.join(able)}."


def may_answer(approval: ApprovalView, view: RolloutView, token: Token) -> str:
    """Why this token's answer would not count; empty when it would. The command has the last word."""
    me = person(token.name)
    involved = {person(view.created_by): "requested", person(view.author or ""): "authored"}
    if not allowed(view, token, "approve"):
        able = " or ".join(role for role, may in ROLES.items() if VERBS["approve"].permission in may)
        return f"{token.name} is {token.role}; to approve, ask somebody who is {able}."
    if me in involved and not approval.self_approval:
        return f"You {involved[me]} this release; the policy wants somebody else to approve."
    if approval.groups and not set(approval.groups) & set(token.groups):
        yours = ", ".join(token.groups) or "no group"
        return f"Approval is asked from {', '.join(approval.groups)}; {token.name} is in {yours}."
    if any(person(given.by) == me for given in approval.decisions):
        return "You have answered already; another person is needed."
    return ""


def impossible(view: RolloutView, token: Token, verb: str) -> str:
    """Why `verb` is not offered: the token, or the phase and what it permits."""
    if verb in view.possible:
        return withheld(view, token)
    fits = ", ".join(view.possible) or "nothing"
    return f"The rollout is {view.phase.replace('_', ' ')}, where this is not possible. Possible now: {fits}."


def _awaited(view: RolloutView) -> str:
    """The regions that an approval lets go on."""
    if view.approval is None or view.approval.stage >= len(view.stages):
        return view.version
    return ", ".join(region.region for region in view.stages[view.approval.stage].regions)


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
