"""Cases of the network: eight faults around every effect, and a region that is cut off while it goes back."""

import time

from tests.faults.figures import Figures
from tests.faults.processes import eventually
from tests.faults.proxy import Fault
from tests.faults.world import BAD, STAGES, World

RESTORED_S = 15.0  # after a region is back


def eight_faults(world: World, cycles: int, policy: str = "two") -> Figures:
    """A service for each fault; harm in the last region, so that all are deployed to and restored."""
    figures = Figures("eight network faults, every effect")
    services = {fault: world.declare(policy) for fault in Fault}
    world.rules.faults = {service: fault for fault, service in services.items()}
    for cycle in range(cycles):
        harm = f"{cycle}.{time.monotonic_ns()}.0-bad-{STAGES[policy][-1][0]}"
        rollouts = {fault: world.start(service, harm, ends=BAD) for fault, service in services.items()}
        _wait_for_all(world, figures, rollouts)
        figures.cycles += 1
    world.rules.faults = {}
    figures.wrong += [
        f"no {kind} met the fault '{fault}'"
        for fault in set(Fault) - {Fault.LOSS, Fault.FLAP}
        for kind in ("rehearse", "deploy", "verify", "collect", "restore")
        if not world.rules.met[fault, kind] and not (kind == "collect" and _given_up(world, services[fault]))
    ]
    for fault in Fault:
        met = [f"{kind} {times}" for (one, kind), times in sorted(world.rules.met.items()) if one is fault]
        figures.said.append(f"{fault} met: {', '.join(met)}")
    return figures


def _given_up(world: World, service: str) -> bool:
    """Whether evidence was given up after its 2 s, as on a busy machine: going back does not wait."""
    of = f"(SELECT id FROM rollouts WHERE service = '{service}')"
    found = world.ask(f"SELECT state FROM actions WHERE kind = 'collect' AND rollout_id IN {of}")
    return bool(found) and all(row[0] in ("failed", "dropped") for row in found)


def _wait_for_all(world: World, figures: Figures, rollouts: dict[Fault, str], within_s: float = 240) -> None:
    began, left = time.monotonic(), dict(rollouts)
    while left:
        for fault, rollout in list(left.items()):
            if world.phase(rollout) == BAD:
                figures.took(f"{fault}: there and back", time.monotonic() - began)
                del left[fault]
        assert time.monotonic() - began < within_s, f"not within {within_s:g} s: {left}"
        time.sleep(0.2)


def cut_off(world: World, cycles: int, away_s: float) -> Figures:
    """A region does not answer from the first order to go back on, and later it does."""
    figures = Figures("region cut off while going back")
    service = world.declare("one")
    for cycle in range(cycles):
        rollout = world.start(service, ends=BAD)
        world.rules.cut_going_back.add(service)
        at = world.replicas[cycle % len(world.replicas)]

        def shown() -> str:
            found = world.once("GET", f"/v1/rollouts/{rollout}", at=at).json()  # noqa: B023 - done before the next
            return str(found["stages"][0]["regions"][0]["phase"])

        eventually(lambda: shown() == "unreachable", 60, "the API shows that the region does not answer")
        ends = time.monotonic() + away_s
        while time.monotonic() < ends:
            assert (shown(), world.phase(rollout)) == ("unreachable", "rolling_back")
            time.sleep(0.3)
        waits = "kind = 'restore' AND state = 'pending'"
        open_ = f"SELECT attempts FROM actions WHERE rollout_id = '{rollout}' AND {waits}"
        attempts = [row[0] for row in world.ask(open_)]
        assert len(attempts) == 1, f"the way back is not recorded once: {attempts}"
        assert attempts[0] >= 2, "nobody tries again"
        world.rules.cut_going_back.discard(service)
        world.rules.cut.clear()
        began = time.monotonic()
        world.wait(rollout, BAD, 4 * RESTORED_S)
        took = time.monotonic() - began
        figures.took("back → restored", took)
        figures.wrong += [f"restored {took:.1f} s after the region was back"] if took > RESTORED_S else []
        figures.cycles += 1
    return figures
