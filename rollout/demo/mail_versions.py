"""How each version of the sample mail service behaves, as data; the rest of it knows no version."""

from dataclasses import dataclass, replace
from random import Random

QUIET_S = (3.0, 3.8)  # uptime at which a process meets an expired key: never 3 times in 7 s
PLACES = 4  # processes of a region, whose first stops are spread
SPREAD_S = 5.0  # over about one uptime and one restart
SIGNED_TOGETHER = 4  # sends that wait for a signature when a process stops


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Times in seconds, as (least, most).

    `signs_links`: link tracking with a signing key that ends some time after the version first started in a
    region; from then on the process stops now and then in the middle of its work (incident A).
    `fault`: crash (at start) | lie (about its version) | hang (accepts connections and never answers).
    """

    answer_s: tuple[float, float] = (0.004, 0.012)
    work_s: tuple[float, float] = (0.025, 0.05)
    signs_links: bool = False
    fault: str = ""


VERSIONS = {
    "1.0.0": Behaviour(),
    "1.1.0": Behaviour(answer_s=(0.003, 0.009), work_s=(0.02, 0.04)),
    "1.2.0": Behaviour(answer_s=(0.003, 0.009), work_s=(0.02, 0.04), signs_links=True),
    "1.2.1": Behaviour(answer_s=(0.003, 0.009), work_s=(0.02, 0.04)),
}
FAULTS = ("crash", "lie", "hang")


class UnknownVersion(Exception):
    """No such version was ever built."""


def behaviour_of(version: str) -> Behaviour:
    """The behaviour of `1.1.0`, or of `1.1.0-crash` and the like. Raises UnknownVersion."""
    base, _, fault = version.partition("-")
    if base not in VERSIONS or (fault and fault not in FAULTS):
        known, faults = ", ".join(VERSIONS), ", -".join(FAULTS)
        raise UnknownVersion(f"unknown version {version}; known: {known}, each also with -{faults}")
    return replace(VERSIONS[base], fault=fault)


def meets_expired_key_at(started_at: float, key_ends_at: float, slot: str, chance: Random) -> float:
    """When the process in `slot` will need a key that has ended, in seconds of the same clock."""
    place = (int(slot) if slot.isdecimal() else 0) % PLACES
    first = place / PLACES * SPREAD_S
    return max(started_at + chance.uniform(*QUIET_S), key_ends_at + first + chance.uniform(0.0, 0.5))
