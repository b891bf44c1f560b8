"""What is switched on in one seed, and how strongly: the swarm. Everything is drawn here, before it begins.

Each kind of fault is absent in many seeds, so that one does not always hide what another would show.
"""

import random
from dataclasses import dataclass, fields

REGIONS = ("R3", "R1", "R2")
GOOD, BAD, LATE, SOMEWHERE = "good", "bad", "bad late", "bad in one region"
PEOPLE = ("hold", "brief hold", "resume", "promote", "rollback", "cancel", "approve", "reject", "note")
APART_S = (0.0, 0.3, 5.0, 60.0)  # of true time, at most
READINGS = ("error", "silent", "half", "nan", "stale", "labels", "spike", "hang")


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """Something that lasts a while: what, where (a region, or a machine), and when."""

    what: str
    where: str
    since: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A machine is hit when it passes the nth place of a kind: `write`, `store` or `effect`.

    `stop_s` is for how long it stands still; None: it is killed, and back after `back_s`, under a fresh id or
    its own.
    """

    place: str
    nth: int
    stop_s: float | None = None
    back_s: float = 1.0
    fresh: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What a person wants at a time, of the nth release; said `times` times."""

    at: float
    who: str
    what: str
    about: int
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How one region's target behaves."""

    fences: bool
    dedupes: bool  # by key; else by what is wanted
    slow_s: float  # the longest time that a deploy takes after it was accepted
    partial: bool  # half of the places change first
    forgets_at: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How likely each fault of one call is."""

    refused: float = 0.0
    lost_request: float = 0.0
    lost_answer: float = 0.0
    late: float = 0.0
    twice: float = 0.0
    slow: float = 0.0
    late_s: float = 10.0  # how late at most
    denied: float = 0.0  # by the target, for good


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """How likely each fault of one transaction is."""

    statement: float = 0.0
    commit: float = 0.0
    unknown: float = 0.0  # committed, and the answer says that it failed
    busy: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """One seed."""

    seed: int
    machines: int
    services: int
    lease_s: float
    tick_s: float
    latency_s: float
    chaos_s: float  # after which every fault stops
    policy: str
    release: str  # what becomes of the first release
    worst: str  # the region of one that is bad somewhere
    newer_at: float | None  # when a second release comes
    helped: bool  # whether somebody on call answers after the faults
    true_times: bool  # whether sources stamp samples with true time, or with the asker's
    skews: tuple[float, ...]
    jumps: tuple[tuple[float, int, float], ...]  # at, machine, seconds
    strikes: tuple[Strike, ...]
    acts: tuple[Act, ...]
    manners: tuple[Manner, ...]
    network: Network
    disk: Disk
    episodes: tuple[Episode, ...]
    wakes_lost: float
    untold: float  # how likely a notice is refused

    def lines(self) -> list[str]:
        """One line for each knob, for people."""
        return [f"{f.name}: {getattr(self, f.name)}" for f in fields(self)]


def draw(seed: int) -> Knobs:
    """The knobs of a seed."""
    chance = random.Random(f"knobs/{seed}")
    machines = chance.choice((1, 2, 2, 2, 2, 2, 2, 3, 3, 3))
    chaos_s = chance.uniform(8.0, 35.0)
    return Knobs(
        seed=seed,
        machines=machines,
        services=2 if chance.random() < 0.15 else 1,
        lease_s=chance.choice((3.0, 6.0, 15.0)),
        tick_s=chance.choice((1.0, 2.0, 2.0, 3.0)),
        latency_s=chance.choice((0.0005, 0.005, 0.05)),
        chaos_s=chaos_s,
        policy=chance.choice(("short", "short", "wide", "steps", "asks", "gated", "supersedes")),
        release=chance.choice((GOOD, GOOD, BAD, LATE, SOMEWHERE)),
        worst=chance.choice(REGIONS),
        newer_at=chance.uniform(2.0, chaos_s) if chance.random() < 0.3 else None,
        helped=chance.random() < 0.7,
        true_times=chance.random() < 0.5,
        skews=_skews(chance, machines),
        jumps=_jumps(chance, machines, chaos_s),
        strikes=_strikes(chance) if machines > 1 else (),
        acts=_acts(chance, chaos_s),
        manners=tuple(_manners(chance, chaos_s)),
        network=_network(chance),
        disk=_disk(chance),
        episodes=tuple(_episodes(chance, chaos_s, machines)),
        wakes_lost=chance.choice((0.0, 0.0, 0.3, 1.0)),
        untold=chance.choice((0.0, 0.0, 0.0, 0.5)),
    )


def _skews(chance: random.Random, machines: int) -> tuple[float, ...]:
    most = chance.choice(APART_S)
    return tuple(chance.uniform(-most, most) for _ in range(machines))


def _jumps(chance: random.Random, machines: int, chaos_s: float) -> tuple[tuple[float, int, float], ...]:
    if chance.random() < 0.5:
        return ()
    return tuple(
        (chance.uniform(0.0, chaos_s), chance.randrange(machines), chance.uniform(-120.0, 120.0))
        for _ in range(chance.randint(1, 3))
    )


def _strikes(chance: random.Random) -> tuple[Strike, ...]:
    reach = {"store": 700, "write": 160, "effect": 60}
    found = []
    for stops in (False, True):
        for _ in range(chance.choice((0, 0, 1, 2, 3))):
            place = chance.choice(tuple(reach))
            found.append(
                Strike(
                    place=place,
                    nth=chance.randrange(reach[place]),
                    stop_s=chance.uniform(0.5, 25.0) if stops else None,
                    back_s=chance.uniform(0.1, 20.0),
                    fresh=chance.random() < 0.3,
                )
            )
    return tuple(found)


def _acts(chance: random.Random, chaos_s: float) -> tuple[Act, ...]:
    if chance.random() < 0.4:
        return ()
    return tuple(
        Act(
            at=chance.uniform(0.5, chaos_s),
            who=chance.choice(("dana", "erin")),
            what=chance.choice(PEOPLE),
            about=0 if chance.random() < 0.8 else 1,
            times=chance.choice((1, 1, 2)),
        )
        for _ in range(chance.randint(1, 5))
    )


def _manners(chance: random.Random, chaos_s: float) -> list[Manner]:
    all_fence, slow = chance.random() < 0.6, chance.choice((0.0, 0.0, 4.0, 12.0))
    dedupes, forgets = chance.random() < 0.6, chance.random() < 0.2
    return [
        Manner(
            fences=all_fence or chance.random() < 0.5,
            dedupes=dedupes or chance.random() < 0.5,
            slow_s=slow,
            partial=chance.random() < 0.3,
            forgets_at=(chance.uniform(0.0, chaos_s),) if forgets else (),
        )
        for _ in REGIONS
    ]


def _network(chance: random.Random) -> Network:
    def maybe(most: float) -> float:
        return chance.uniform(0.0, most) if chance.random() < 0.25 else 0.0

    return Network(
        refused=maybe(0.2),
        lost_request=maybe(0.1),
        lost_answer=maybe(0.2),
        late=maybe(0.15),
        twice=maybe(0.2),
        slow=maybe(0.15),
        late_s=chance.uniform(2.0, 40.0),
        denied=maybe(0.05),
    )


def _disk(chance: random.Random) -> Disk:
    def maybe(most: float) -> float:
        return chance.uniform(0.0, most) if chance.random() < 0.2 else 0.0

    return Disk(statement=maybe(0.03), commit=maybe(0.05), unknown=maybe(0.05), busy=maybe(0.05))


def _episodes(chance: random.Random, chaos_s: float, machines: int) -> list[Episode]:
    found = []

    def some(what: str, where: str, likely: float, longest: float) -> None:
        if chance.random() < likely:
            since = chance.uniform(0.0, chaos_s)
            found.append(
                Episode(what=what, where=where, since=since, until=since + chance.uniform(0.5, longest))
            )

    for region in REGIONS:
        some("cut", region, 0.1, 20.0)
    for machine in range(machines):
        some("parted", f"{machine}/{chance.choice(REGIONS)}", 0.1, 20.0)
        some("no store", f"{machine}", 0.08, 12.0)
    some("gone", "", 0.1, 10.0)
    if chance.random() < 0.5:
        for _ in range(chance.randint(1, 3)):
            some(chance.choice(READINGS), chance.choice(REGIONS), 1.0, 12.0)
    return found
