"""The accumulated state of one check in one region: what one entry of `RegionEvidence.checks` holds.

Of constant size, and plain JSON: times are epoch seconds, sums are [candidate events, candidate exposure,
baseline events, baseline exposure]. What must not live here: any arithmetic of a test.
"""

from dataclasses import dataclass, field, fields
from typing import Any

CANDIDATE = "candidate"
BASELINE = "baseline"


def zeros() -> list[float]:
    """Four empty sums."""
    return [0.0, 0.0, 0.0, 0.0]


@dataclass(slots=True, kw_only=True)
class CheckState:
    """Mutable while samples are taken in, and only there.

    phi, scale: over-dispersion that tempers the ratio test, and the unit of the sign test (both >= 1).
    pool: events and exposure of lately, of both, fading. learned: what the calibration rests on.
    rate_low, rate_mean, rate_high: events per instance-hour of history with two-sigma bounds; high is None
    without history.
    newest: the newest time taken, per arm. active: the newest time with exposure of the candidate.
    quiet: exposure of the baseline since then. judged_s: seconds of the candidate in `bake`.
    exposed: all exposure of the candidate, judged or not.
    block, sums: the open block. totals: everything that entered blocks. rise: the same since `low_at`.
    bake: the same since the weight changed last. mixed: the open block began before that.
    logs, bets: per test, the log weight of each of its bets, and how many blocks it bet on.
    ruled_out: log-e against harm of the tolerance, per test, of `bake`. log_e: against "no harm", with the
    lowest value it had and when.
    loops: restart times per instance; loop: the one that fired, first and last of its times.
    piece, run: the success guard's open piece [since, bad, all] and bad run [since, until, bad, all].
    level: newest gauge values per arm; over: a gauge above its limit [since, first, until, last].
    """

    junk: int = 0
    phi: float = 1.0
    scale: float = 1.0
    pool: list[float] = field(default_factory=lambda: [0.0, 0.0])
    rate_low: float = 0.0
    rate_mean: float = 0.0
    rate_high: float | None = None
    learned: str = ""
    newest: dict[str, float] = field(default_factory=dict)
    active: float | None = None
    quiet: float = 0.0
    judged_s: float = 0.0
    block: int | None = None
    sums: list[float] = field(default_factory=zeros)
    totals: list[float] = field(default_factory=zeros)
    bake: list[float] = field(default_factory=zeros)
    mixed: bool = False
    exposed: float = 0.0
    rise: list[float] = field(default_factory=zeros)
    logs: dict[str, list[float]] = field(default_factory=dict)
    bets: dict[str, int] = field(default_factory=dict)
    ruled_out: dict[str, float] = field(default_factory=dict)
    log_e: float = 0.0
    low: float = 0.0
    low_at: float | None = None
    loops: dict[str, list[float]] = field(default_factory=dict)
    loop: list[float] = field(default_factory=list)
    loop_instance: str = ""
    piece: list[float] = field(default_factory=list)
    run: list[float] = field(default_factory=list)
    level: dict[str, float] = field(default_factory=dict)
    over: list[float] = field(default_factory=list)

    @classmethod
    def view(cls, raw: dict[str, Any]) -> "CheckState":
        """For reading only: shares its lists with `raw`."""
        return cls(**raw)

    @classmethod
    def load(cls, raw: dict[str, Any]) -> "CheckState":
        """A copy that may be changed without changing `raw`."""
        return cls(**{name: _copy(value) for name, value in raw.items()})

    def dump(self) -> dict[str, Any]:
        """Plain JSON, exact to the last bit; give the state up afterwards, its lists are shared."""
        return {name: getattr(self, name) for name in _NAMES}


_NAMES = tuple(each.name for each in fields(CheckState))


def _copy(value: Any) -> Any:
    if isinstance(value, list):
        return value.copy()
    return {key: _copy(inner) for key, inner in value.items()} if isinstance(value, dict) else value
