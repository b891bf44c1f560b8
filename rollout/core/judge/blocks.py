"""From samples of one check to base blocks, and from blocks to its sequential tests."""

from typing import Any

import numpy as np

from rollout.core.judge import sequential
from rollout.core.judge.baseline import at_hours, hours_of_day
from rollout.core.judge.samples import LEVELS, Told, block_of, told
from rollout.core.judge.state import (
    BASELINE,
    CANDIDATE,
    CheckState,
    dump_running,
    load_running,
    load_terms,
    zeros,
)
from rollout.core.plan import Plan
from rollout.core.policy import CheckSpec
from rollout.core.signals import BaselineKind, Sample

KEPT_LEVELS = 64  # of one arm in one block; more of them change no median that matters


def anew(raw: dict[str, Any]) -> dict[str, Any]:
    """The state of a check at a new weight. Its open block is bet for harm and rules nothing out."""
    state = CheckState.load(raw)
    state.bake, state.judged_s, state.quiet = zeros(), 0.0, 0.0
    state.blocks, state.ruled_out = 0, 0.0
    state.mixed = any(state.sums) or any(state.levels.values())
    state.mixed |= any(state.sums_ahead) or any(state.levels_ahead.values())
    if state.running:
        running = load_running(state.running)
        sequential.forget_passes(load_terms(state.terms), running)
        state.running = dump_running(running)
    return state.dump()


def add(plan: Plan, check: CheckSpec, arm: str, state: CheckState, sample: Sample) -> bool:
    """Add an interval to its block. False when it comes too late.

    Two blocks are open, since the clocks of two arms may differ: one closes when every arm that is compared
    has gone past it, or one of them is two blocks ahead.
    """
    if not state.terms:
        return True
    length, time = plan.block(check), sample.time.timestamp()
    block = block_of(time, length)
    if state.block is None:
        state.block = block
    if block < state.block:
        return False
    while block > state.block + 1:
        _close(state, length, skip_to=block - 1)
    said, ahead = told(plan.signals[check.signal], sample), block > state.block
    if said.family == state.family:
        if state.family == LEVELS:
            _add_level(state.levels_ahead if ahead else state.levels, arm, said.value)
        else:
            sums = state.sums_ahead if ahead else state.sums
            _add_counts(state, sums, arm, said, _profile(state, arm, time))
    if arm == CANDIDATE:
        state.judged_s += sample.duration_s
    if ahead and all(block_of(newest, length) > state.block for newest in _compared(state)):
        _close(state, length)
    return True


def _compared(state: CheckState) -> list[float]:
    """The newest times of the arms whose samples make a block."""
    if state.base == BaselineKind.HISTORY:
        arms = {CANDIDATE}
    elif state.base == BaselineKind.PEERS:
        arms = {CANDIDATE, *state.profiles, *(set(state.newest) - {BASELINE})}
    else:
        arms = {CANDIDATE, BASELINE}
    return [time for arm, time in state.newest.items() if arm in arms]


def _close(state: CheckState, length: float, skip_to: int | None = None) -> None:
    """Close the open block; the one ahead is open then. Empty blocks are no bets."""
    assert state.block is not None, "a block is open"
    if any(state.sums) or any(state.levels.values()):
        close(state, length)
    state.block += 1
    state.sums, state.sums_ahead = state.sums_ahead, zeros(5)
    state.levels, state.levels_ahead = state.levels_ahead, {}
    if skip_to is not None and not any(state.sums) and not any(state.levels.values()):
        state.block = max(state.block, skip_to)


def _profile(state: CheckState, arm: str, time: float) -> float:
    """What the profile says at that hour: of a peer its ratio, of history its rate; 1 beside."""
    key = "history" if arm in (CANDIDATE, BASELINE) else arm
    if key not in state.profiles:
        return 1.0
    hour = hours_of_day(np.array([time]), state.zone)
    return float(at_hours(state.profiles[key], hour)[0])


def _add_counts(state: CheckState, into: list[float], arm: str, said: Told, profile: float) -> None:
    """Peers' exposure is scaled to what this region would have needed for their events."""
    if arm == CANDIDATE:
        forecast = said.exposure * profile if state.base == BaselineKind.HISTORY else 0.0
        added = [said.value, said.exposure, forecast, said.exposure if forecast else 0.0, forecast]
    elif arm == BASELINE and state.base == BaselineKind.BESIDE:
        added = [0.0, 0.0, said.value, said.exposure, 0.0]
    elif arm != BASELINE and state.base == BaselineKind.PEERS and arm in state.profiles:
        added = [0.0, 0.0, said.value, said.exposure / max(profile, 1e-300), 0.0]
    else:
        return
    for sums in (into, state.totals, state.bake):
        for place in range(len(sums)):
            sums[place] += added[place]


def _add_level(levels: dict[str, list[float]], arm: str, level: float) -> None:
    kept = levels.setdefault(arm, [])
    if len(kept) < KEPT_LEVELS:
        kept.append(level)


def close(state: CheckState, length: float) -> None:
    """Bet the open block, once, and remember when the evidence of harm was at its lowest."""
    assert state.block is not None, "only an open block is closed"
    if state.low_at is None:
        state.low_at = state.block * length
    terms = load_terms(state.terms)
    running = load_running(state.running) if state.running else sequential.begin(terms)
    block = _level_block(state, length) if state.family == LEVELS else np.array(state.sums)
    sequential.step(terms, running, block)
    if state.mixed:
        state.mixed = False
        sequential.forget_passes(terms, running)
    state.log_e = float(sequential.log_e(terms, running))
    state.ruled_out = float(sequential.ruled_out(terms, running))
    state.running = dump_running(running)
    state.blocks += 1
    if state.log_e <= state.low:
        state.low, state.low_at, state.rise = state.log_e, (state.block + 1) * length, zeros()
    else:
        state.rise = [a + float(b) for a, b in zip(state.rise, block[:4], strict=True)]
    state.sums, state.levels = zeros(5), {}


def _level_block(state: CheckState, length: float) -> Any:
    """Median levels of the candidate and of what it is compared with, in the unit of the test."""
    relative = bool(state.terms["relative"])
    if relative and any(level <= 0 for levels in state.levels.values() for level in levels):
        return np.zeros(sequential.WIDTH)  # no ratio to nothing; only a limit can guard such a level
    mid = {arm: _unit(float(np.median(levels)), relative) for arm, levels in state.levels.items() if levels}
    own = mid.pop(CANDIDATE, None)
    beside = state.base == BaselineKind.BESIDE
    usual = mid.get(BASELINE) if beside else _forecast_level(state, mid, length)
    if own is None or usual is None:
        return np.zeros(sequential.WIDTH)
    _count_level(state, own, usual, relative)
    return np.array([own, 1.0, usual, 1.0, 0.0])


def _forecast_level(state: CheckState, mid: dict[str, float], length: float) -> float | None:
    """The profile at that hour; of each peer that is there, on its own level."""
    assert state.block is not None, "a block is open"
    hour = hours_of_day(np.array([(state.block + 1) * length]), state.zone)
    if state.base == BaselineKind.PEERS:
        found = [
            level + float(at_hours(state.profiles[arm], hour)[0])
            for arm, level in mid.items()
            if arm in state.profiles
        ]
        return float(np.mean(found)) if found else None
    return float(at_hours(state.profiles["history"], hour)[0])


def _count_level(state: CheckState, own: float, usual: float, relative: bool) -> None:
    """Levels of both, summed, so that their means can be shown."""
    pair = (np.exp(own), np.exp(usual)) if relative else (own, usual)
    for sums in (state.totals, state.bake):
        for place, value in enumerate((pair[0], 1.0, pair[1], 1.0)):
            sums[place] += float(value)


def _unit(level: float, relative: bool) -> float:
    return float(np.log(max(level, 1e-12))) if relative else level
