"""The state of the judge: what has been accumulated for one region, small and of constant size.

It is stored as JSON between two looks, so every field is a number, a string, a time or a small list of them.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from rollout.core.judge.state import readable


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionEvidence:
    """Evidence of every check in one region of one rollout.

    `seen` is the sequence number of the newest stored sample that was taken in, so that each is judged once.
    `judged_from` is when the warm-up after the newest change of weight ends: earlier samples reach only the
    hard guards. `peers` are the regions whose samples count as the baseline of checks that compare with
    peers. `checks` maps a cell (a signal, or one edge of a distribution) to its accumulated state.
    """

    region: str
    candidate: str
    baseline: str
    started_at: datetime
    judged_from: datetime
    seen: int = 0
    peers: tuple[str, ...] = ()
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)


def of_this_form(evidence: RegionEvidence) -> bool:
    """Whether stored evidence can be gone on with; of another release of this program it is begun anew."""
    return all(readable(raw) for raw in evidence.checks.values())


def without_peers(evidence: RegionEvidence, names: Collection[str]) -> RegionEvidence:
    """The same evidence when these regions run another release too, and are peers no longer."""
    return replace(evidence, peers=tuple(peer for peer in evidence.peers if peer not in names))
