"""What is settled before a check is judged: what it is compared with, and the terms of its tests.

All of it is learned from history, which holds known-good versions only (see begin). Where history is too
short for a comparison the next kind of baseline is taken; where it is too short to say how noisy a service
is, a default is taken and named. Learning a comparison by forecast (forecasts.py) is apart.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from rollout.core.judge import forecasts, mixture, noise, sequential
from rollout.core.judge.mixture import Floats
from rollout.core.judge.noise import Noise
from rollout.core.judge.past import LEAST_BLOCKS, LEAST_EVENTS, Past, gathered, pairs, usual_of
from rollout.core.judge.samples import LEVELS, cell_of, of_check, told
from rollout.core.judge.sequential import Terms, Test
from rollout.core.judge.state import CheckState, dump_running, dump_terms, zeros
from rollout.core.plan import Plan
from rollout.core.policy import CheckSpec
from rollout.core.signals import BaselineKind, Direction, Sample, Signal, SignalKind, series_name

DRIFTS = 2.0  # times the variance of chance, from which a rate has no usual value
LEAST_DAYS = 1.0  # of history, for a comparison with peers by time of day
LEAST_PAST_S = 7200.0  # of history, for a comparison with a region's own past
LEVEL_BET = 5  # base blocks, where nothing says how long a level remembers itself
LEVEL_MARGIN = math.log(1.1)  # a tenth between two sets of instances is no harm
LEAST_SEEN = 100  # events, before the edges of a distribution are set
QUANTILES = (0.5, 0.9, 0.99)  # of a distribution, at which its edges are set
TOLERANCE = {
    SignalKind.RATIO: 2.0,
    SignalKind.RATE: 5.0,
    SignalKind.GAUGE: 1.5,
    SignalKind.DISTRIBUTION: 2.0,
    SignalKind.THROUGHPUT: 1.5,
}
"""The rise that a pass rules out where the author wrote none: twice the failures takes 2,000 requests
at 0.5 %, minutes of traffic; restarts are so rare that five times as many already take
63 instance-hours at 0.02; a level or a throughput that is half as much again is seen by anyone."""


def settle(
    plan: Plan, check: CheckSpec, region: str, history: Sequence[Sample], peers: Sequence[str]
) -> dict[str, CheckState]:
    """The states of a check before its first sample, by cell: one, or one for each edge of a distribution."""
    signal = plan.signals[check.signal]
    samples = list(of_check(history, check.signal, signal))
    if signal.kind is not SignalKind.DISTRIBUTION:
        return {check.signal: cell(plan, check, region, samples, peers)}
    own = [sample for sample in samples if sample.region == region]
    edges = edges_of(sample for sample in own if sample.version == own[-1].version)  # others may have others
    if not edges:
        return {check.signal: CheckState(family="buckets", learned="edges are settled by the first baseline")}
    return {
        series_name(check.signal, le=f"{edge:g}"): cell(
            plan, check, region, samples, peers, edge, 1 / len(edges)
        )
        for edge in edges
    }


def edges_of(samples: Iterable[Sample]) -> tuple[float, ...]:
    """The edges next above the median, the 90th and the 99th percentile; none below a hundred events."""
    known: dict[float, tuple[float, float]] = {}
    for sample in samples:
        edge = cell_of(sample.signal)[1]
        if edge is not None and math.isfinite(edge):
            below, total = known.get(edge, (0.0, 0.0))
            known[edge] = (below + sample.value, total + sample.exposure)
    return _chosen(known)


def _chosen(known: Mapping[float, tuple[float, float]]) -> tuple[float, ...]:
    parts = {edge: below / total for edge, (below, total) in sorted(known.items()) if total >= LEAST_SEEN}
    inner = [edge for edge, part in parts.items() if part < 1]
    chosen = [next((edge for edge in inner if parts[edge] >= quantile), None) for quantile in QUANTILES]
    return tuple(dict.fromkeys(edge for edge in chosen if edge is not None)) or tuple(inner[-1:])


def _known_past(past: Past) -> bool:
    """Whether a region's own past says enough for a forecast: two hours, and twenty events of a count."""
    blocks = [cell for cell in past.of(past.region).values() if cell[1] > 0]
    if len(blocks) * past.length < LEAST_PAST_S or len(blocks) < LEAST_BLOCKS:
        return False
    return past.family == LEVELS or sum(cell[0] for cell in blocks) >= LEAST_EVENTS


def collect(waiting: CheckState, edge: float, sample: Sample) -> None:
    """Add one bucket of the baseline while no edges are settled."""
    sums = waiting.buckets.setdefault(f"{edge:g}", zeros(2))
    sums[0] += sample.value
    sums[1] += sample.exposure


def settled(plan: Plan, check: CheckSpec, region: str, waiting: CheckState) -> dict[str, CheckState]:
    """The states by edge, once the baseline has shown where they are; nothing before."""
    edges = _chosen({float(edge): (below, total) for edge, (below, total) in waiting.buckets.items()})
    if edges:
        waiting.family, waiting.buckets = "edges", {}
    return {
        series_name(check.signal, le=f"{edge:g}"): cell(plan, check, region, (), (), edge, 1 / len(edges))
        for edge in edges
    }


def cell(
    plan: Plan,
    check: CheckSpec,
    region: str,
    samples: Sequence[Sample],
    peers: Sequence[str],
    edge: float = -1.0,
    part: float = 1.0,
) -> CheckState:
    """The state of one cell before its first sample."""
    signal = plan.signals[check.signal]
    past = gathered(plan, check, region, samples, edge)
    state = CheckState(family=past.family, edge=edge, part=part, zone=past.zone)
    for kind in plan.baselines(region, check):
        near = [peer for peer in peers if past.days(peer) >= LEAST_DAYS]
        if kind is BaselineKind.BESIDE and signal.kind is SignalKind.THROUGHPUT and past.family == LEVELS:
            state.learned = "work done is not compared beside: each version has its share of what arrives"
            return state
        if kind is BaselineKind.BESIDE:
            _beside(plan, check, signal, state, past)
        elif kind is BaselineKind.PEERS and near and past.days(region) >= LEAST_DAYS:
            forecasts.learn(state, past, near, _terms(plan, check, signal, past, "split", "sign"))
        elif kind is BaselineKind.HISTORY and _known_past(past):
            forecasts.learn(state, past, (), _terms(plan, check, signal, past, "forecast"))
        else:
            continue
        state.base = kind.value
        return state
    state.learned = f"nothing to compare with: {past.days(region) * 24:.1f} h of history, and 2 h are needed"
    return state


def reread(plan: Plan, check: CheckSpec, region: str, state: CheckState, sample: Sample) -> None:
    """Throughput without history is a level until the first sample that says how much work arrived."""
    if state.family != LEVELS or state.terms:
        return
    if told(plan.signals[check.signal], sample).family != LEVELS:
        anew = cell(plan, check, region, (sample,), ())
        state.family, state.base, state.terms, state.running = (
            anew.family,
            anew.base,
            anew.terms,
            anew.running,
        )
        state.learned = anew.learned
        state.log_e = state.ruled_out = 0.0


def tolerance(check: CheckSpec, kind: SignalKind) -> float:
    """The rise over the baseline that a pass of this check rules out."""
    return check.tolerance if check.tolerance is not None else TOLERANCE[kind]


_WEIGHTS = {
    ("split", "sign"): (0.8, 0.2),
    ("joint", "split"): (0.85, 0.15),
    ("split",): (1.0,),
    ("forecast",): (1.0,),
    ("level",): (1.0,),
    ("step",): (1.0,),
}
"""What stands on fewer assumptions has the smaller part: it costs delay, and stays when the other fails."""


def _terms(plan: Plan, check: CheckSpec, signal: Signal, past: Past, *families: str) -> Terms:
    """Terms with these families, on the side or sides of harm; noise is filled in by who learned it."""
    if past.family == LEVELS:
        families = families if families == ("level",) else ("step",)
    down = signal.direction is Direction.DOWN and (past.family == LEVELS or signal.kind is SignalKind.RATE)
    sides = (False, True) if signal.direction is Direction.BOTH else (down,)
    tests = [
        Test(family, falls, weight / len(sides))
        for falls in sides
        for family, weight in zip(families, _WEIGHTS[families], strict=True)
    ]
    return Terms(
        tests=tuple(tests),
        lift=tolerance(check, signal.kind),
        horizon=mixture.horizon(plan, past.length),
        margin=0.0 if past.family == LEVELS else 1.0,
    )


# --------------------------------------------------------------------- beside


def _beside(plan: Plan, check: CheckSpec, signal: Signal, state: CheckState, past: Past) -> None:
    if past.family == LEVELS:
        terms = _terms(plan, check, signal, past, "level")
        state.terms = dump_terms(_level_terms(state, past, terms))
        return
    if signal.kind is SignalKind.RATE and _rare(past):
        _rare_beside(plan, check, signal, state, past)
        return
    terms = _terms(plan, check, signal, past, "split", "sign")
    settled = _replace(terms, _noise(state, past))
    state.terms = dump_terms(settled)
    state.running = dump_running(sequential.begin(settled, pool=usual_of(past)))


def _rare(past: Past) -> bool:
    """Whether events are so rare that history says more than what happens beside: less than one a block."""
    rows = past.of(past.region).values()
    return sum(cell[0] for cell in rows) < max(LEAST_EVENTS, len(rows))


def _rare_beside(plan: Plan, check: CheckSpec, signal: Signal, state: CheckState, past: Past) -> None:
    """Restarts: what history knows of the usual rate is most of what there is to compare with."""
    events = sum(cell[0] for cell in past.of(past.region).values())
    exposure = sum(cell[1] for cell in past.of(past.region).values())
    found = _rate_noise(state, past)
    if exposure > 0 and found.psi < DRIFTS:
        terms = _terms(plan, check, signal, past, "joint", "split")
        state.terms = dump_terms(_replace(terms, found, known=(events + 0.5, exposure)))
        state.learned += f"; {events / exposure:.3g} an hour in {exposure:,.0f} instance-hours"
        return
    state.terms = dump_terms(_replace(_terms(plan, check, signal, past, "split"), found))
    state.learned += "; no usual rate is known" if exposure <= 0 else "; its rate drifts too much to rest on"


def _replace(terms: Terms, found: Noise, known: tuple[float, float] = (0.0, 0.0)) -> Terms:
    return Terms(
        tests=terms.tests,
        lift=terms.lift,
        horizon=terms.horizon,
        margin=terms.margin,
        rho=found.rho,
        psi=found.psi,
        every=found.every,
        known=known,
    )


def _noise(state: CheckState, past: Past) -> Noise:
    table, paired = pairs(past)
    events = float(table[:, [0, 2]].sum())
    if len(table) < LEAST_BLOCKS or events < LEAST_EVENTS:
        few = len(table) < LEAST_BLOCKS
        has = f"{len(table)} of {LEAST_BLOCKS} blocks" if few else f"{events:.0f} of {LEAST_EVENTS} events"
        state.learned = f"over-dispersion {noise.PRIOR_RHO:g} assumed, history has {has}"
        return Noise(rho=noise.PRIOR_RHO, psi=1.0, every=1)
    found = noise.measure(table)
    if not paired:  # the rows are three blocks apart
        found = replace(found, every=min(noise.LONGEST, found.every if found.every == 1 else 3 * found.every))
    how = "blocks side by side" if paired else "neighbouring blocks"
    state.learned = f"over-dispersion {found.rho:.3f} of {len(table)} {how}"
    if found.every > 1:
        state.learned += (
            f"; one bet in {found.every} blocks, as long as history is correlated or an incident lasts"
        )
    return found


def _rate_noise(state: CheckState, past: Past) -> Noise:
    """Rare events: only whether they come in clusters, which tempers every bet alike."""
    rows = [cell for cell in past.of(past.region).values() if cell[1] > 0]
    if len(rows) < LEAST_BLOCKS or sum(cell[0] for cell in rows) < LEAST_EVENTS:
        state.learned = "events of different instances are taken as independent: too few to tell"
        return Noise(rho=noise.PRIOR_RHO, psi=1.0, every=1)
    events, exposure = np.array(rows).T
    expected = exposure * events.sum() / exposure.sum()
    grouped = noise.gather(np.stack([events, expected], axis=1), 10 if len(rows) >= 300 else 1)
    square = (grouped[:, 0] - grouped[:, 1]) ** 2 / grouped[:, 1]
    fano = float(np.minimum(square, noise.WINSOR).mean())
    psi = fano if fano > 1 + 1.64 * math.sqrt(2 / len(square)) else 1.0
    state.learned = f"clustering {psi:.2f} of {len(rows)} blocks"
    return Noise(rho=0.0, psi=psi, every=1)


def _memory(gaps: Floats) -> int:
    """Base blocks over which differences of two arms remember themselves: their integrated correlation."""
    centred = gaps - gaps.mean()
    total, spread = 1.0, float((centred**2).mean())
    for lag in range(1, min(noise.LONGEST, len(gaps) // 4)):
        kept = float((centred[lag:] * centred[:-lag]).mean()) / max(spread, 1e-300)
        if kept < 2 / math.sqrt(len(gaps)):
            break
        total += 2 * kept
    return min(noise.LONGEST, math.ceil(total) if total > 1 else 1)


def _level_terms(state: CheckState, past: Past, terms: Terms) -> Terms:
    """The unit of differences between two sets of instances: how much the level moves from block to block."""
    table, paired = pairs(past)
    positive = bool(len(table)) and bool((table[:, [0, 2]] > 0).all())
    scale, margin = (0.25, LEVEL_MARGIN) if positive or not len(table) else (1.0, 0.0)
    relative = positive or not len(table)
    if len(table) >= LEAST_BLOCKS:
        one, other = table[:, 0] / table[:, 1], table[:, 2] / table[:, 3]
        one, other = (np.log(one), np.log(other)) if relative else (one, other)
        gaps = one - other
        scale = max(1.4826 * float(np.median(np.abs(gaps - np.median(gaps)))), 0.01 if relative else 1e-9)
        margin = LEVEL_MARGIN if relative else 0.1 * float(np.median(np.abs(other)))
    every = _memory(gaps) if len(table) >= LEAST_BLOCKS and paired else LEVEL_BET
    how = "side by side" if paired else "from block to block"
    state.learned = f"differences of {len(table)} blocks {how}" if len(table) else "no history of the level"
    return Terms(
        tests=terms.tests,
        lift=terms.lift,
        horizon=terms.horizon,
        margin=margin,
        scale=scale,
        relative=relative,
        every=every,
    )
