"""How much a bake must see before it can tell: the limits of any test, for plans and for `needs`.

Exposure is the candidate's: requests for a ratio, instance-hours for a rate. `share` is the candidate's part
of the traffic of both; 0 stands for a baseline that is known exactly, and at 1 there is none beside it to
compare with, so that no exposure is enough. Over-dispersion phi divides what a
request tells, so multiply by it.
"""

import math
from collections.abc import Callable


def needed_requests(base_rate: float, lift: float, share: float, alpha: float) -> float:
    """Candidate requests, on average, that see `base_rate` rise by `lift` at `alpha` false alarms."""
    risen = base_rate * lift
    if share >= 1:
        return math.inf
    if share <= 0:
        return math.log(1 / alpha) / _divergence(risen, base_rate)
    beside = (1 - share) / share
    middle = (risen + beside * base_rate) / (1 + beside)
    told = _divergence(risen, middle) + beside * _divergence(base_rate, middle)
    return math.log(1 / alpha) / told


def needed_hours(rate: float, lift: float, alpha: float) -> float:
    """Instance-hours that see a rise of `rate` per instance-hour by `lift`, on average."""
    return math.log(1 / alpha) / (rate * (lift * math.log(lift) - lift + 1))


def exposure_to_rule_out(base_rate: float, lift: float, share: float = 0.0, beta: float = 0.05) -> float:
    """Candidate exposure that rules a rise by `lift` out at error `beta`, on average when nothing changed.

    inf where nothing can tell: no baseline beside it, or no event at all.
    """
    told = rule_out_information(base_rate, lift, share)
    return math.log(1 / beta) / told if told > 0 else math.inf


def rule_out_information(base_rate: float, lift: float, share: float = 0.0) -> float:
    """Nats against a rise by `lift` that one unit of candidate exposure brings when nothing changed."""
    if share <= 0:
        return base_rate * (lift - 1 - math.log(lift))
    if share >= 1:
        return 0.0
    return base_rate / share * (math.log1p(share * (lift - 1)) - share * math.log(lift))


def detectable(base_rate: float, exposure: float, share: float = 0.0, beta: float = 0.05) -> float:
    """The smallest rise that `exposure` of the candidate can rule out at error `beta`; inf beyond 1000."""
    if exposure <= 0 or base_rate <= 0:
        return math.inf
    return least(lambda lift: exposure_to_rule_out(base_rate, lift, share, beta) <= exposure)


def least(enough: Callable[[float], bool], most: float = 1000.0) -> float:
    """The smallest lift above 1 for which `enough` holds, as for all above it; inf beyond `most`."""
    low, high = 1.0, most
    if not enough(high):
        return math.inf
    for _ in range(60):
        middle = (low + high) / 2
        if middle > 1 and enough(middle):
            high = middle
        else:
            low = middle
    return high


def _divergence(p: float, q: float) -> float:
    """Kullback-Leibler divergence of two Bernoulli rates, in nats."""
    rest = (1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0
    return p * math.log(p / q) + rest
