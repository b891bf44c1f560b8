"""What a person can do on the page: the words of each button, and the one command it stands for."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from rollout.access import ROLES, Permission
from rollout.commands import Actor, Commands
from rollout.core.model import Intent, IntentKind, Phase
from rollout.ports import Token
from rollout.views import RolloutView

HOLD_MOST_S = 7 * 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a confirmation sends: why, and for a hold how long (0 is without end) and what happens then."""

    reason: str
    for_s: int = 0
    then: str = "hold"


Act = Callable[[Commands, str, Actor, Form], Awaitable[Intent]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One verb. `tone` is how its button looks; `explain` says what happens, below the form's title.

    `guarded`: refused when the rollout changed since the form was shown. `why`: a reason must be given.
    """

    name: str
    permission: Permission
    tone: str
    explain: str
    act: Act
    guarded: bool = False
    why: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """A verb as it stands for one rollout, named by its effect."""

    verb: Verb
    label: str
    href: str


async def _hold(commands: Commands, rollout_id: str, actor: Actor, form: Form) -> Intent:
    return await commands.hold(rollout_id, actor, form.reason, for_s=form.for_s or None, then=form.then)


async def _resume(commands: Commands, rollout_id: str, actor: Actor, form: Form) -> Intent:
    return await commands.resume(rollout_id, actor, form.reason)


async def _roll_back(commands: Commands, rollout_id: str, actor: Actor, form: Form) -> Intent:
    return await commands.rollback(rollout_id, actor, form.reason)


async def _cancel(commands: Commands, rollout_id: str, actor: Actor, form: Form) -> Intent:
    return await commands.cancel(rollout_id, actor, form.reason)


async def _approve(commands: Commands, rollout_id: str, actor: Actor, form: Form) -> Intent:
    return await commands.decide_approval(rollout_id, actor, IntentKind.APPROVE, form.reason)


async def _reject(commands: Commands, rollout_id: str, actor: Actor, form: Form) -> Intent:
    return await commands.decide_approval(rollout_id, actor, IntentKind.REJECT, form.reason)


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
            explain="The rollout ends. No region was touched, so nothing has to be restored.",
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
    )
}


def label(view: RolloutView, verb: str) -> str:
    """What the button of `verb` does to this rollout."""
    if verb == "rollback":
        return view.rollback_effect or f"Roll back {view.version}"
    if verb == "approve":
        return f"Approve {_awaited(view)}"
    if verb == "reject":
        return f"Reject, {_lower_first(view.rollback_effect)}" if view.rollback_effect else "Reject"
    if verb == "hold":
        return "Take over the hold" if view.phase is Phase.HELD else "Hold"
    return f"Resume {view.version}" if verb == "resume" else f"Cancel {view.version}"


def allowed(view: RolloutView, token: Token, verb: str) -> bool:
    """Whether the state and the token both permit `verb`."""
    narrowed = token.services and view.service not in token.services
    return verb in view.possible and VERBS[verb].permission in ROLES[token.role] and not narrowed


def buttons(view: RolloutView, token: Token) -> tuple[Button, ...]:
    """The buttons of the bar: the one that goes on first, the way back last."""
    return tuple(button(view, name) for name in VERBS if allowed(view, token, name))


def button(view: RolloutView, verb: str) -> Button:
    """One verb for one rollout."""
    return Button(verb=VERBS[verb], label=label(view, verb), href=f"/rollouts/{view.id}/{verb}")


def withheld(view: RolloutView, token: Token) -> str:
    """What fits the state and the token may not do, and who may; empty when there is nothing."""
    missing = [name for name in VERBS if name in view.possible and not allowed(view, token, name)]
    if not missing:
        return ""
    able = [role for role, may in ROLES.items() if any(VERBS[name].permission in may for name in missing)]
    return f"{token.name} is {token.role}. To {', '.join(missing)}, ask somebody who is {' or '.join(able)}."


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
