"""Traffic of the deployer `haproxy` as arithmetic: which weights give a share, and what weights amount to."""

from collections.abc import Iterable, Mapping, Sequence

from rollout.deployers.haproxy_socket import HEAVIEST


def weights_for(percent: int, candidates: int, others: int) -> tuple[int, int]:
    """The weight of each candidate and of each other server that comes nearest to `percent` of the traffic.

    Both are 1 to 256, so that neither side goes unseen; of equally near ones, the heaviest. At 100, or with
    no other server, the others get 0.
    """
    if percent >= 100 or not others:
        return HEAVIEST, 0
    if not candidates:
        return _nearest(percent, 1, others)[0], HEAVIEST
    return _nearest(percent, candidates, others)


def _nearest(percent: int, candidates: int, others: int) -> tuple[int, int]:
    exact = percent * others / ((100 - percent) * candidates)  # candidate's weight per weight of another
    pairs = []
    for other in range(1, HEAVIEST + 1):
        for near in (int(exact * other), int(exact * other) + 1):
            own = min(max(near, 1), HEAVIEST)
            off = abs(own * candidates / (own * candidates + other * others) - percent / 100)
            pairs.append((round(off, 12), -own - other, own, other))
    _, _, own, other = min(pairs)
    return own, other


def shares(carried: Iterable[tuple[str, int]]) -> dict[str, float]:
    """From (version, weight) of each server to the part of the traffic of each version, 0 to 1."""
    sums: dict[str, int] = {}
    for version, weight in carried:
        if weight:
            sums[version] = sums.get(version, 0) + weight
    total = sum(sums.values())
    return {version: weight / total for version, weight in sums.items()}


def as_instances(parts: Mapping[str, float], servers: int) -> dict[str, int]:
    """Traffic said in whole servers, by largest remainder; nobody with traffic gets none."""
    counts = {version: max(1, int(part * servers)) for version, part in parts.items()}
    while sum(counts.values()) < servers:
        neediest = max(counts, key=lambda version: parts[version] * servers - counts[version])
        counts[neediest] += 1
    while sum(counts.values()) > servers and max(counts.values()) > 1:
        richest = max(
            (version for version in counts if counts[version] > 1),
            key=lambda version: counts[version] - parts[version] * servers,
        )
        counts[richest] -= 1
    return counts


def in_safe_order(
    now: Mapping[str, int], wanted: Mapping[str, int], candidates: Iterable[str]
) -> Sequence[tuple[str, int]]:
    """The changes in an order in which the candidates never carry more than before and after it.

    The others are raised first and lowered last, so that somebody always carries the traffic.
    """
    ours = set(candidates)
    changes = [(name, weight) for name, weight in wanted.items() if now.get(name) != weight]

    def turn(change: tuple[str, int]) -> int:
        name, weight = change
        raised = weight > now.get(name, 0)
        if name in ours:
            return 2 if raised else 1
        return 0 if raised else 3

    return sorted(changes, key=turn)
