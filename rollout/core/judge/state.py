"""The accumulated state of one check in one region: what one entry of `RegionEvidence.checks` holds.

Of constant size, and plain JSON: times are epoch seconds, sums are [candidate events, candidate exposure,
baseline events, baseline exposure]. What must not live here: any arithmetic of a test.
"""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from rollout.core.judge.sequential import Running, Terms, Test

CANDIDATE = "candidate"
BASELINE = "baseline"


def zeros(width: int = 4) -> list[float]:
    """Empty sums."""
    return [0.0] * width


@dataclass(slots=True, kw_only=True)
class CheckState:
    """Mutable while samples are taken in, and only there.

    family: counts (events of exposure), levels, or buckets (a distribution whose edges are not settled yet).
    edge: of a distribution, in its unit; -1 elsewhere. part: this cell's part of its check's weight.
    base: the kind of baseline; empty where there is none. zone: time zone of the profiles.
    days: of history that a comparison was learned from.
    discount, doubt: nats that its evidence must be stronger by to act, and to hold (see combine.py).
    profiles: per peer, or under `history`, one number for each hour of the day. learned: what the calibration
    rests on. terms, running: of the sequential tests.
    newest: the newest time taken, per arm. active: the newest time with exposure of the candidate.
    quiet: exposure of the baseline since then. judged_s: seconds of the candidate in `bake`.
    exposed: all exposure of the candidate, judged or not.
    block, sums, levels: the open block; sums has the forecast as fifth. sums_ahead, levels_ahead: the block
    after it, for arms whose clocks are ahead. totals: everything that entered
    blocks. bake: the same since the weight changed last. rise: the same since `low_at`. mixed: the open block
    began before the weight changed. blocks: closed ones since then.
    log_e: against "no harm", with the lowest value it had and when. ruled_out: against harm of the tolerance.
    loops: restart times per instance; loop: the one that fired, first and last of its times.
    piece, run: the success guard's open piece [since, bad, all] and bad run [since, until, bad, all].
    level: newest gauge values per arm; over: a gauge beyond its limit [since, first, until, last].
    buckets: per version and edge, [events no slower, all], until edges are settled.
    """

    junk: int = 0
    family: str = "counts"
    edge: float = -1.0
    part: float = 1.0
    base: str = ""
    zone: str = "UTC"
    days: float = 0.0
    discount: float = 0.0
    doubt: float = 0.0
    profiles: dict[str, list[float]] = field(default_factory=dict)
    learned: str = ""
    terms: dict[str, Any] = field(default_factory=dict)
    running: dict[str, Any] = field(default_factory=dict)
    newest: dict[str, float] = field(default_factory=dict)
    active: float | None = None
    quiet: float = 0.0
    judged_s: float = 0.0
    block: int | None = None
    sums: list[float] = field(default_factory=lambda: zeros(5))
    levels: dict[str, list[float]] = field(default_factory=dict)
    sums_ahead: list[float] = field(default_factory=lambda: zeros(5))
    levels_ahead: dict[str, list[float]] = field(default_factory=dict)
    totals: list[float] = field(default_factory=zeros)
    bake: list[float] = field(default_factory=zeros)
    mixed: bool = False
    blocks: int = 0
    exposed: float = 0.0
    rise: list[float] = field(default_factory=zeros)
    log_e: float = 0.0
    ruled_out: float = 0.0
    low: float = 0.0
    low_at: float | None = None
    loops: dict[str, list[float]] = field(default_factory=dict)
    loop: list[float] = field(default_factory=list)
    loop_instance: str = ""
    piece: list[float] = field(default_factory=list)
    run: list[float] = field(default_factory=list)
    level: dict[str, float] = field(default_factory=dict)
    over: list[float] = field(default_factory=list)
    buckets: dict[str, list[float]] = field(default_factory=dict)

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


def readable(raw: dict[str, Any]) -> bool:
    """Whether a stored state is of this form, and not of one before."""
    return set(raw) == set(_NAMES)


def _copy(value: Any) -> Any:
    if isinstance(value, list):
        return value.copy()
    return {key: _copy(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def dump_terms(terms: Terms) -> dict[str, Any]:
    """Terms of one stream as plain JSON."""
    raw = asdict(terms)
    return {**raw, "tests": list(raw["tests"]), "known": list(raw["known"])}


def load_terms(raw: dict[str, Any]) -> Terms:
    """The inverse of dump_terms."""
    return Terms(
        **{**raw, "tests": tuple(Test(**test) for test in raw["tests"]), "known": tuple(raw["known"])}
    )


def dump_running(running: Running) -> dict[str, Any]:
    """Running state of one stream as plain JSON, exact to the last bit."""
    raw = {name: getattr(running, name) for name in _RUNNING}
    return {
        name: {key: each.tolist() for key, each in value.items()}
        if name == "logs"
        else np.asarray(value).tolist()
        for name, value in raw.items()
    }


def load_running(raw: dict[str, Any]) -> Running:
    """The inverse of dump_running."""
    arrays = {name: np.asarray(value) for name, value in raw.items() if name != "logs"}
    return Running(logs={key: np.asarray(each) for key, each in raw["logs"].items()}, **arrays)


_RUNNING = tuple(each.name for each in fields(Running))
