"""Words about regions in doubt: why nothing is ordered there, and what a person does, in which order.

What must not live here: reading the store, or settling a doubt (reconciling/doubts.py).
"""

from collections.abc import Collection, Sequence

from rollout.core.decide.drift import taken_out
from rollout.core.model import RegionPhase, Rollout, ServiceRegion
from rollout.showing.views import RolloutView


def in_doubt(state: ServiceRegion | None) -> tuple[str, ...]:
    """Why nothing is ordered there since somebody went around this database."""
    if state is None or state.doubt is None:
        return ()
    found = f"; {state.doubt.found}" if state.doubt.found else "; it is being looked at"
    return (f"In doubt, so nothing is ordered here: {state.doubt.text}{found}.",)


def still_running(rollout: Rollout, besides: Collection[str]) -> str:
    """The other touched regions, which have its release still."""
    left = (r for r in rollout.touched if r.phase is not RegionPhase.RESTORED and not taken_out(rollout, r))
    return ", ".join(region.region for region in left if region.region not in besides)


def out_of_doubt(view: RolloutView, doubted: Sequence[ServiceRegion], elsewhere: str) -> str:
    """What a person does where regions are in doubt: first what takes the release from users elsewhere."""
    adopt = ", ".join(f'rollout adopt {view.service} --region {each.region} --reason "…"' for each in doubted)
    if not elsewhere:
        return f"Cancel it, then: {adopt}"
    if "rollback" not in view.possible:
        return f"{elsewhere} goes back first; then: {adopt}"
    return f"{elsewhere} still runs {view.version}: rollout rollback {view.id}; then: {adopt}"
