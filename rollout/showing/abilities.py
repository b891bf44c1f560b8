"""What the deployers of a plan cannot do, in words of the effect, for those who plan a rollout."""

from collections.abc import Callable, Iterator, Mapping

from rollout.core.errors import RolloutError
from rollout.core.model import Kind, Region
from rollout.core.plan import Plan

Supports = Callable[[Region], frozenset[str]]

_EFFECTS: Mapping[Kind, str] = {  # of a kind that is missing; {here} says which deployer
    Kind.DEPLOY: "nothing can be deployed {here}: a rollout there is rolled back at its first weight.",
    Kind.RESTORE: "nothing can be restored {here}: a rollback there fails, and people must do it by hand.",
    Kind.VERIFY: "what runs cannot be read back {here}: a rollout is held before it touches anything.",
    Kind.REHEARSE: "no rehearsal possible {here}: the way back is proven by reading back only.",
    Kind.COLLECT: "logs and exit reasons cannot be kept {here} before it goes back.",
    Kind.FIND_STALLED: "stalled work cannot be found {here}: after a rollback, look for it yourself.",
    Kind.RESUME_WORK: "stalled work cannot be resumed {here}: after a rollback, resume it yourself.",
}
_READS = (Kind.VERIFY,)  # all that a rollout needs which only observes


def lacking(plan: Plan, supports: Supports) -> tuple[str, ...]:
    """A line for everything that a deployer of the plan cannot do; the same line for several regions once."""
    found: dict[str, list[str]] = {}
    for region in plan.regions.values():
        for line in _of(region, plan, supports):
            found.setdefault(line, []).append(region.name)
    return tuple(f"{', '.join(names)}: {line}" for line, names in found.items())


def _of(region: Region, plan: Plan, supports: Supports) -> Iterator[str]:
    try:
        able = supports(region)
    except RolloutError as error:
        yield f"its deployer {region.deployer.kind} cannot be used: {error}"
        return
    here = f"here (deployer {region.deployer.kind})"
    for kind, effect in _EFFECTS.items():
        implied = kind is Kind.RESUME_WORK and Kind.FIND_STALLED not in able
        if kind not in able and not implied and (kind in _READS or not plan.observes):
            yield effect.format(here=here)
