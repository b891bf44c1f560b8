"""What a bake can rule out at the traffic there is: factors of the sequential tests, on what was measured.

The tests see what is expected when nothing changed: so many events at the usual rate, in bets as long and as
tempered as those of a release. What must not live here: words, and reading samples.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rollout.core.judge import counts, mixture, noise, rates
from rollout.core.judge.calibrate import LEVEL_MARGIN
from rollout.core.judge.detect import least
from rollout.core.judge.noise import Noise
from rollout.core.judge.past import LEAST_BLOCKS, LEAST_EVENTS

ENOUGH = math.log(20)  # nats against harm of the tolerance that make a pass: 5 % of wrong ones
MOST = 1e15  # of exposure or blocks that is looked for
UNKNOWN = Noise(rho=noise.PRIOR_RHO, psi=1.0, every=1)
RARE = Noise(rho=0.0, psi=1.0, every=1)  # restarts of different instances are taken as independent
LEAST_SPREAD = 0.01  # of a level's logarithm from block to block
USUAL_SPREAD = 0.25  # where too little of it was read


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """How a candidate stands to its baseline.

    `share` is the candidate's part of the exposure of both, 0..1: at 1 there is no baseline. `pace` is its
    exposure a second. `margin` is the rise that counts as none. `beside` says that the baseline
    is in the same region; a `forecast` is one that is known beforehand.
    """

    share: float
    pace: float = 1.0
    margin: float = 1.0
    beside: bool = True
    forecast: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Counted events of a whole region, more of which is harm.

    `per_s` is exposure a second, `block_s` the seconds of a base block. `known` is the exposure of
    history that counts as baseline too, of rare events only.
    """

    events: float
    exposure: float
    per_s: float
    noise: Noise = UNKNOWN
    block_s: float = 60.0
    known: float = 0.0

    @property
    def rate(self) -> float:
        """Events per exposure."""
        return self.events / self.exposure

    @property
    def highest(self) -> float:
        """The rate that two sigma of chance may still hide."""
        return (self.events + 2 * math.sqrt(self.events + 1) + 1) / self.exposure

    def nats(self, exposure: float, lift: float, against: Compared, rate: float | None = None) -> float:
        """Expected evidence against a rise by `lift` from so much of the candidate, when nothing changed."""
        base = self.rate if rate is None else rate
        if exposure <= 0 or base <= 0:
            return 0.0
        if self.known > 0 and against.beside and not against.forecast:
            return self._joint(exposure, lift, against, base)
        bet = against.pace * self.block_s * self.noise.every  # the candidate's exposure in one bet
        return min(self._factor(bet, lift, against, base), counts.CAP) * exposure / bet

    def _joint(self, exposure: float, lift: float, against: Compared, base: float) -> float:
        beside = exposure * (1 - against.share) / against.share + self.known
        told = rates.joint_rule_out_logs(base * exposure, exposure, base * beside, beside, lift)
        return float(told) / self.noise.psi

    def _factor(self, bet: float, lift: float, against: Compared, base: float) -> float:
        """Nats of one bet."""
        margin = against.margin
        if against.forecast:
            temper = counts.tempering(base * bet, self.noise.rho, self.noise.psi)
            told = rates.forecast_rule_out_logs(base * bet, base * bet / margin, lift / margin, temper)
            return float(told) if lift > margin else 0.0
        beside = bet * (1 - against.share) / against.share
        if beside <= 0:
            return 0.0
        temper = counts.tempering(base * (bet + beside), self.noise.rho, self.noise.psi)
        return float(counts.rule_out_logs(base * bet, bet / margin, base * beside, beside, lift, temper))

    def needed(self, lift: float, against: Compared, rate: float | None = None) -> float:
        """Candidate exposure that rules `lift` out at 5 %; inf where none does."""
        return _first(lambda exposure: self.nats(exposure, lift, against, rate))

    def smallest(self, exposure: float, against: Compared) -> float:
        """The smallest lift that `exposure` of the candidate rules out at 5 %; inf where there is none."""
        return least(lambda lift: self.nats(exposure, lift, against) >= ENOUGH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A level such as a gauge: `spread` is that of the difference between two blocks, of its logarithm."""

    mean: float
    spread: float = USUAL_SPREAD
    margin: float = LEVEL_MARGIN

    def nats(self, blocks: float, lift: float) -> float:
        """Expected evidence against a level `lift` times as high, or as low, from so many blocks."""
        if blocks <= 0 or self.mean <= 0:
            return 0.0
        told = blocks * counts.shift_logs((math.log(lift) - self.margin) / self.spread)
        return float(mixture.log_mean(told, counts.SHIFT_WEIGHTS))

    def needed(self, lift: float) -> float:
        """Blocks that rule `lift` out at 5 %; inf where none do."""
        return _first(lambda blocks: self.nats(blocks, lift))

    def smallest(self, blocks: float) -> float:
        """The smallest lift that so many blocks rule out at 5 %; inf where there is none."""
        return least(lambda lift: self.nats(blocks, lift) >= ENOUGH)


def _first(nats: Callable[[float], float]) -> float:
    """The least amount with enough evidence, which grows with it; inf where there never is."""
    if nats(MOST) < ENOUGH:
        return math.inf
    low, high = -30.0, math.log(MOST)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if nats(math.exp(middle)) >= ENOUGH else (middle, high)
    return math.exp(high)


def noise_of(blocks: Mapping[int, tuple[float, float]]) -> Noise:
    """How noisy counts are, by neighbouring blocks of (events, exposure); a default where there are few."""
    pairs = [(*blocks[one], *blocks[one + 1]) for one in sorted(blocks) if one % 2 == 0 and one + 1 in blocks]
    table = np.array(pairs, dtype=np.float64).reshape(-1, 4)
    table = table[(table[:, 1] > 0) & (table[:, 3] > 0)]
    if len(table) < LEAST_BLOCKS or table[:, [0, 2]].sum() < LEAST_EVENTS:
        return UNKNOWN
    return noise.measure(table)


def level_of(blocks: Sequence[float]) -> Level:
    """A level from its base blocks in order of time."""
    values = np.asarray(blocks, dtype=np.float64)
    mean = float(np.median(values))
    if len(values) < LEAST_BLOCKS or not (values > 0).all():
        return Level(mean=mean)
    gaps = np.diff(np.log(values))
    spread = 1.4826 * float(np.median(np.abs(gaps - np.median(gaps))))
    return Level(mean=mean, spread=max(spread, LEAST_SPREAD))
