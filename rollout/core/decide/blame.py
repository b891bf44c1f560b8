"""Which release a rise is blamed on, where several overlap: from rollouts and verdicts to ranked suspects."""

from collections.abc import Iterable, Sequence

from rollout.core import reason as say
from rollout.core.judge.suspects import Change, Harm, Suspect, rank
from rollout.core.model import Rollout
from rollout.core.signals import BaselineKind, Verdict


def suspects(
    rollout: Rollout, blamed: Sequence[Verdict], overlapping: Iterable[Rollout]
) -> tuple[Suspect, ...]:
    """Those that were where the rise is, this release among them, most likely first; empty without a rise.

    `overlapping` are rollouts of any service.
    """
    harm = _harm(rollout, blamed)
    if harm is None:
        return ()
    others = (other for other in overlapping if other.id != rollout.id)
    return rank(harm, [_change(each) for each in (rollout, *others)])


def ranking(rollout: Rollout, blamed: Sequence[Verdict], overlapping: Iterable[Rollout]) -> str:
    """The suspects in a sentence; empty when only one release can be it."""
    return say.suspects([words(suspect) for suspect in suspects(rollout, blamed, overlapping)])


def words(suspect: Suspect) -> str:
    """One suspect, and what speaks for it."""
    change = suspect.change
    name = f"{change.service} {change.version} ({change.rollout_id})"
    return say.suspect(name, suspect.regions, suspect.beyond, suspect.lead_s, alone=suspect.alone)


def _harm(rollout: Rollout, blamed: Sequence[Verdict]) -> Harm | None:
    began = [verdict.since for verdict in blamed if verdict.since is not None]
    if not began:
        return None
    own = all(_beside(verdict) for verdict in blamed)
    return Harm(
        regions=frozenset(verdict.region for verdict in blamed),
        since=min(began),
        release=rollout.id if own else "",
    )


def _beside(verdict: Verdict) -> bool:
    """Whether the release's instances were told apart from those beside them."""
    return BaselineKind.BESIDE in verdict.baseline_kind and verdict.baseline is not None


def _change(rollout: Rollout) -> Change:
    return Change(
        rollout_id=rollout.id,
        service=rollout.release.service,
        version=rollout.release.version,
        touched_at={r.region: r.touched_at for r in rollout.regions if r.touched_at},
        restored_at={r.region: r.restored_at for r in rollout.regions if r.restored_at},
        share={r.region: r.weight / 100 for r in rollout.regions if r.touched},
    )
