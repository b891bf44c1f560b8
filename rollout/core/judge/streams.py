"""The judge's sequential tests over many streams at once, for benchmarks, placebo releases and backtests.

The very same calibration, terms and steps as for one check of one live region; only the leading axis differs.
One column is one base block.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rollout.core.judge import counts, noise, sequential
from rollout.core.judge.mixture import Floats
from rollout.core.judge.needs import MEDIAN
from rollout.core.judge.sequential import N0, N1, WIDTH, X0, X1, Terms, Test

ENOUGH = float(np.log(20))  # nats against harm of the tolerance that make a pass


@dataclass(frozen=True, slots=True)
class Arms:
    """Events and exposure of the candidate (x1, n1) and of the baseline (x0, n0), each [streams, blocks]."""

    x1: Floats
    n1: Floats
    x0: Floats
    n0: Floats

    def rows(self) -> Floats:
        """As blocks of the sequential tests, [streams, blocks, WIDTH]."""
        arrays = [np.asarray(each, dtype=np.float64) for each in (self.x1, self.n1, self.x0, self.n0)]
        return np.stack([*arrays, np.zeros_like(arrays[0])], axis=-1)


@dataclass(frozen=True, slots=True)
class Paths:
    """What was said after each block, [streams, blocks].

    log_e: nats against "no harm". ruled_out: nats against harm of the tolerance. passed: whether that is
    enough. needs: candidate exposure said to be needed until then; nan where none is.
    """

    log_e: Floats
    ruled_out: Floats
    passed: Any
    needs: Floats


def replay_streams(
    terms: Terms, blocks: Floats, pool: Floats | None = None, *, say_needs: bool = False
) -> Paths:
    """Run settled terms over blocks of shape [streams, blocks, WIDTH]; `pool` is the usual rate so far."""
    streams, length, _ = blocks.shape
    running = sequential.begin(terms, (streams,), (0.0, 0.0) if pool is None else pool)
    log_e, ruled_out = np.empty((streams, length)), np.empty((streams, length))
    needed = np.full((streams, length), np.nan)
    sums = np.zeros((streams, WIDTH))
    for place in range(length):
        sequential.step(terms, running, blocks[:, place])
        log_e[:, place] = sequential.log_e(terms, running)
        ruled_out[:, place] = sequential.ruled_out(terms, running)
        if say_needs:
            sums = sums + blocks[:, place]
            needed[:, place] = _needs(terms, sums, running.pool, ruled_out[:, place], place + 1)
    passed = (ruled_out >= ENOUGH) & (log_e < ENOUGH)
    return Paths(log_e, ruled_out, passed, np.where(passed, np.nan, needed))


def _needs(terms: Terms, sums: Floats, lately: Floats, ruled_out: Floats, blocks: int) -> Floats:
    """The same arithmetic as needs.exposure, on arrays."""
    known_events, known_exposure = terms.known
    events = sums[:, X0] + known_events + lately[:, 0]
    beside = sums[:, N0] + known_exposure + lately[:, 1]
    base = np.where(events >= 1, events, 3.0) / np.maximum(beside, 1e-300)
    share = sums[:, N1] / np.maximum(sums[:, N1] + sums[:, N0] + known_exposure, 1e-300)
    share = np.clip(share, 1e-12, 1.0)
    lift = np.maximum(1.01, terms.lift / np.asarray(terms.margin))
    told = base / share * (np.log1p(share * (lift - 1)) - share * np.log(lift))
    typical = base * (sums[:, N1] + sums[:, N0]) / blocks * np.asarray(terms.every)
    told = told / counts.tempering(typical, terms.rho, terms.psi)
    more: Floats = MEDIAN * np.maximum(0.0, ENOUGH - ruled_out) / np.maximum(told, 1e-300)
    return more


def beside(history: Arms, *, tolerance: float, horizon: int) -> tuple[Terms, Floats]:
    """Terms of counts beside a baseline, calibrated stream by stream, and the usual rates so far."""
    rows = history.rows()
    found = [noise.measure(stream[(stream[:, N1] > 0) & (stream[:, N0] > 0), :4]) for stream in rows]
    terms = Terms(
        tests=(Test("split", False, 0.8), Test("sign", False, 0.2)),
        lift=tolerance,
        horizon=horizon,
        rho=np.array([each.rho for each in found]),
        psi=np.array([each.psi for each in found]),
        every=np.array([each.every for each in found]),
    )
    return terms, pools(rows)


def rates_beside(known: tuple[Floats, Floats], *, tolerance: float, horizon: int) -> Terms:
    """Terms of rare events beside a baseline; `known` are events and exposure of history, per stream."""
    return Terms(
        tests=(Test("joint", False, 0.85), Test("split", False, 0.15)),
        lift=tolerance,
        horizon=horizon,
        known=(np.asarray(known[0]) + 0.5, np.asarray(known[1])),
    )


def pools(rows: Floats) -> Floats:
    """The fading sums of events and exposure at the end of `rows`, [streams, 2]."""
    fade = counts.MEMORY ** np.arange(rows.shape[1])[::-1]
    events = ((rows[..., X1] + rows[..., X0]) * fade).sum(axis=1)
    exposure = ((rows[..., N1] + rows[..., N0]) * fade).sum(axis=1)
    return np.stack([events, exposure], axis=-1)


def stacked(settled: Sequence[Terms]) -> Terms:
    """Terms of many single streams as terms of one batch; they differ only in their numbers."""
    first = settled[0]

    def column(name: str) -> Any:
        return np.array([getattr(each, name) for each in settled])

    return replace(
        first,
        rho=column("rho"),
        psi=column("psi"),
        every=column("every"),
        margin=column("margin"),
        scale=column("scale"),
    )
