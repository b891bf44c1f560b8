"""Cases with two replicas: frozen past a lease, killed at a verdict, with a wrong clock, restarted."""

import random
import time
from collections import Counter
from collections.abc import Sequence
from email.utils import parsedate_to_datetime

from rollout.clock import SystemClock
from tests.faults.figures import Figures
from tests.faults.people import people
from tests.faults.processes import Replica, eventually
from tests.faults.world import BAD, World

WALL = SystemClock()
LONG_S = 60.0  # less than any jump
TAKEN_OVER_S = 15.0  # generous: two cores may be shared


def frozen(world: World, cycles: int, seed: int = 1) -> Figures:
    """SIGSTOP whoever works on a service for longer than its lease, and thaw it while the other goes on."""
    figures, chance = Figures("frozen past the lease, thawed"), random.Random(seed)
    services = [world.declare("two"), world.declare("soft")]
    fenced: Counter[str] = Counter()
    with people(world, services, seed=seed) as busy:
        for cycle in range(cycles):
            service = services[cycle % 2]
            eventually(lambda: service in busy.under_way, 30, "a rollout")  # noqa: B023 - done before the next
            time.sleep(chance.uniform(0, 2.5))
            holder = eventually(lambda: world.holder(service), 10, f"somebody holds {service}")  # noqa: B023
            fenced[_freeze(world, service, holder, figures, chance)] += 1
            figures.cycles += 1
    figures.said.append("the thawed one: " + ", ".join(f"{what} {times}" for what, times in fenced.items()))
    return figures


def _freeze(world: World, service: str, holder: Replica, figures: Figures, chance: random.Random) -> str:
    size = holder.log_size
    holder.freeze()
    began = time.monotonic()
    try:
        eventually(
            lambda: world.holder(service) not in (None, holder),
            TAKEN_OVER_S,
            f"{service} is taken over",
            0.02,
        )
        figures.took("frozen → taken over", time.monotonic() - began)
        time.sleep(chance.uniform(0.1, 1.0))
    finally:
        holder.thaw()

    def learned() -> str:
        if holder.said("fenced", size) or holder.said("is not held with epoch", size):
            return "was fenced"
        lost = [line for line in holder.said('"claims"', size) if line.get("lost")]
        return "saw that its claims were gone" if lost else ""

    how = eventually(learned, 15, f"{holder.name} knows that it was replaced")
    eventually(lambda: _works(world, holder), 20, f"{holder.name} works again")
    assert holder.ready(), f"{holder.name} is a standby, and not ready"
    return how


def _works(world: World, replica: Replica) -> bool:
    """Whether it has its share again."""
    owner = (replica.data / "replica-id").read_text().strip()
    return bool(world.ask(f"SELECT 1 FROM claims WHERE owner = '{owner}'"))


def killed_at_the_verdict(world: World, cycles: int) -> Figures:
    """SIGKILL whoever decided that a release is harmful, as soon as that is committed."""
    figures = Figures("holder killed at a bad verdict")
    service = world.declare("one")
    for _ in range(cycles):
        rollout = world.start(service, ends=BAD)
        verdict = f"SELECT 1 FROM transitions WHERE rollout_id = '{rollout}' AND to_phase = 'rolling_back'"
        eventually(lambda: world.ask(verdict), 60, "a bad verdict", 0.002)  # noqa: B023 - done before the next
        holder = world.holder(service)
        assert holder is not None
        killed, began = WALL.now().timestamp(), time.monotonic()
        holder.kill()

        def next_effect() -> float:
            ours = [e for e in world.journal() if e["order"]["service"] == service and e["at"] > killed]  # noqa: B023
            others = [e["at"] - killed for e in ours if e["who"] != holder.name]  # noqa: B023
            return min(others, default=0.0)

        took = eventually(next_effect, TAKEN_OVER_S, "the other goes on", 0.02)
        figures.took("killed → next effect by the other", took)
        world.wait(rollout, BAD)
        figures.took("killed → every region restored", time.monotonic() - began)
        holder.start()
        holder.wait_ready()
        figures.cycles += 1
    return figures


def clocks(world: World, cycles: int, jumps: Sequence[int] = (3600, -3600, 300, -300, 0)) -> Figures:
    """The wall clock of one replica jumps during bakes; its lease follows the clock of the database."""
    figures = Figures("clock jumps")
    services = [world.declare("two"), world.declare("two")]
    jumper = world.replicas[-1]
    owner = (jumper.data / "replica-id").read_text().strip()
    left = f"SELECT extract(epoch FROM until - clock_timestamp()) FROM replicas WHERE id = '{owner}'"
    with people(world, services):
        eventually(lambda: all(_works(world, one) for one in world.replicas), 20, "both work")
        for off_s in [*jumps] * cycles:
            world.clock_of(jumper.name).write_text(str(off_s))
            _wait_off(world, jumper, off_s)
            time.sleep(1.5)
            eventually(jumper.ready, 10, f"{jumper.name} is ready while its clock is off by {off_s} s")
            lease = float(world.ask(left)[0][0])
            if not -LONG_S < lease <= world.lease_s:
                figures.wrong.append(f"the clock is off by {off_s} s, and the lease ends in {lease:.1f} s")
            figures.cycles += 1
    return figures


def _wait_off(world: World, replica: Replica, off_s: float) -> None:
    eventually(lambda: abs(_off(world, replica) - off_s) < 5, 10, f"the clock is off by {off_s} s")


def _off(world: World, replica: Replica) -> float:
    """By how many seconds the clock of a replica is off, as it says itself."""
    shown = world.once("GET", "/livez", at=replica).headers["date"]
    return parsedate_to_datetime(shown).timestamp() - WALL.now().timestamp()


def restarted(world: World, cycles: int, services: int = 20) -> Figures:
    """Twenty rollouts under way while the replicas are restarted in order, one after the other."""
    figures = Figures(f"rolling restart, {services} under way")
    names = [world.declare("one") for _ in range(services)]
    for _ in range(cycles):
        for replica in world.replicas:
            eventually(lambda: all(_works(world, one) for one in world.replicas), 30, "both work")
            held = Counter(one.name for one in map(world.holder, names) if one)
            figures.said.append("held: " + ", ".join(f"{name} {held[name]}" for name in world.names))
            rollouts = [world.start(name) for name in names]
            replica.stop()
            began = time.monotonic()
            eventually(
                lambda: all(world.holder(name) not in (None, replica) for name in names),  # noqa: B023
                TAKEN_OVER_S,
                "the other holds all",
            )
            figures.took("stopped → the other holds all", time.monotonic() - began)
            replica.start()
            replica.wait_ready()
            for rollout in rollouts:
                world.wait(rollout, "succeeded", 120)
            figures.cycles += 1
    return figures
