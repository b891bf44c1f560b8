"""Words about regions in doubt: why nothing is ordered there, and what a person does, in which order.

What must not live here: reading the store, or settling a doubt (reconciling/doubts.py).
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from rollout.core.decide.drift import taken_out
from rollout.core.model import FINISHED, Phase, RegionPhase, Rollout, ServiceRegion
from rollout.showing.views import Next, RolloutView

_TO_NO_OTHER = FINISHED | {Phase.QUEUED, Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED}  # it touches no other


def in_doubt(state: ServiceRegion | None) -> tuple[str, ...]:
    """Why nothing is ordered there since somebody went around this database."""
    if state is None or state.doubt is None:
        return ()
    found = f"; {state.doubt.found}" if state.doubt.found else "; it is being looked at"
    return (f"In doubt, so nothing is ordered here: {state.doubt.text}{found}.",)


def doubted(view: RolloutView, rollout: Rollout, known: Sequence[ServiceRegion]) -> RolloutView:
    """The view; where regions are in doubt (`known`), that, and what a person does then."""
    touched = {region.region for region in rollout.touched}
    here = [one for one in known if one.region in touched]
    ahead = [] if rollout.phase in _TO_NO_OTHER else [one for one in known if _is_ahead(rollout, one.region)]
    if not here and not ahead:
        return view
    told = any(one.doubt and one.doubt.found for one in (*here, *ahead))
    elsewhere = _still_running(rollout, {one.region for one in here})
    waits = here or rollout.phase in (Phase.PREFLIGHT, Phase.PROGRESSING)  # others wait for a person first
    ends = ("cancel",) if here and not elsewhere else ()
    return replace(
        view,
        blocked_by=(
            *(f"{one.region}: {text}" for one in (*here, *ahead) for text in in_doubt(one)),
            *view.blocked_by,
        ),
        possible=tuple(dict.fromkeys((*view.possible, *ends))),
        needs_person=view.needs_person or told,
        next=Next(what=_out_of_doubt(view, here, ahead, elsewhere)) if told and waits else view.next,
    )


def _is_ahead(rollout: Rollout, name: str) -> bool:
    """Whether the region is to be touched in this stage, or its way back is to be proven."""
    return any(
        region.region == name
        and not region.touched
        and (rollout.phase is Phase.PREFLIGHT or region.stage == rollout.stage)
        for region in rollout.regions
    )


def _still_running(rollout: Rollout, besides: Collection[str]) -> str:
    """The other touched regions, which have its release still."""
    left = (r for r in rollout.touched if r.phase is not RegionPhase.RESTORED and not taken_out(rollout, r))
    return ", ".join(region.region for region in left if region.region not in besides)


def _out_of_doubt(
    view: RolloutView, here: Sequence[ServiceRegion], ahead: Sequence[ServiceRegion], elsewhere: str
) -> str:
    """What a person does where regions are in doubt: first what takes the release from users elsewhere."""
    settle = ", ".join(_settle(one) for one in (*here, *ahead))
    if not here:
        return f"It goes on by itself after: {settle}"
    if not elsewhere:
        return f"Cancel it, then: {settle}"
    if "rollback" not in view.possible:
        return f"{elsewhere} goes back first; then: {settle}"
    return f"{elsewhere} still runs {view.version}: rollout rollback {view.id}; then: {settle}"


def _settle(one: ServiceRegion) -> str:
    """What ends the doubt; only one version alone can be adopted."""
    if len(one.running) > 1:
        return f'rollout emergency restore {one.service} --region {one.region} --even-so --reason "…"'
    return f'rollout adopt {one.service} --region {one.region} --reason "…"'
