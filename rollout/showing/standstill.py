"""Words about a rollout that nobody decides on, though it is due: what that means and what a person does.

What must not live here: why the controller fails at it, which its page and its log say (reconciler.py).
"""

from dataclasses import replace
from datetime import datetime

from rollout.core import reason as say
from rollout.core.model import Rollout
from rollout.showing.views import Next, RolloutView

LATE_S = 60.0  # after the time at which it was due; a busy controller is a few seconds late


def undecided(view: RolloutView, rollout: Rollout, now: datetime) -> RolloutView:
    """The view; where it has been due for long, that nothing new is decided, and the way back by hand."""
    due = rollout.next_due_at
    late_s = (now - due).total_seconds() if due is not None else 0.0
    if due is None or late_s < LATE_S:
        return view
    text = (
        f"nothing was decided on it for {say.span(late_s)}, since {say.clock(due, now)}: the controller "
        "fails at it, or none works on it; harm is not acted on"
    )
    return replace(
        view, blocked_by=(text, *view.blocked_by), needs_person=True, next=Next(what=_remedy(view, rollout))
    )


def _remedy(view: RolloutView, rollout: Rollout) -> str:
    look = "rollout doctor, and the controller's log, say why"
    regions = [region.region for region in rollout.touched]
    if not regions:
        return f"{look}; it has touched no region"
    return (
        f"{look}. To go back: rollout rollback {view.id}; if it does not say 'rolling back' within a minute, "
        f'rollout emergency restore {view.service} --region R --even-so --reason "…" in each of '
        f"{', '.join(regions)}"
    )
