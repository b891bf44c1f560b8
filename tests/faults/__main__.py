"""The long fault tests: `python -m tests.faults [--cycles 100] [case …]`; exit code 1 for a violation.

Each case has a world of its own, and a line in the table. With `--cycles N` the replicas are frozen N times,
PostgreSQL is killed 2 N times, and so on, as CASES says.
"""

import argparse
import sys
import traceback
from collections.abc import Callable
from typing import Any

from tests.faults import grounds, networks, replicas
from tests.faults.databases import database_killed, standby_promoted
from tests.faults.disks import NoMount
from tests.faults.figures import HEAD, Figures
from tests.faults.power.cuts import cut_lives
from tests.faults.power.recording import NoTrace

Case = Callable[[int], Figures]


def _on_postgres(case: Callable[..., Figures], **options: Any) -> Case:
    def run(cycles: int) -> Figures:
        with grounds.on_postgres() as ground:
            return ground.world.conclude(case(ground.world, cycles=cycles, **options))

    return run


def _killed(cycles: int) -> Figures:
    with grounds.on_postgres() as ground:
        return ground.world.conclude(database_killed(ground.world, ground.servers.primary, cycles))


def _failover(cycles: int) -> Figures:
    with grounds.on_postgres() as ground:
        return ground.world.conclude(standby_promoted(ground.world, ground.ask, ground.servers, cycles))


CASES: dict[str, tuple[Case, float]] = {  # name → case, cycles of it for each of --cycles
    "frozen": (_on_postgres(replicas.frozen), 1.0),
    "killed": (_on_postgres(replicas.killed_at_the_verdict), 0.3),
    "postgres": (_killed, 2.0),
    "failover": (_failover, 0.1),
    "network": (_on_postgres(networks.eight_faults, policy="three"), 0.05),
    "cut": (_on_postgres(networks.cut_off, away_s=10.0), 0.1),
    "disk": (lambda cycles: grounds.full_disk(cycles, mounted=True), 0.1),
    "files": (lambda cycles: grounds.full_disk(cycles, mounted=False), 0.1),
    "clocks": (_on_postgres(replicas.clocks), 0.1),
    "restart": (_on_postgres(replicas.restarted), 0.05),
    "power": (cut_lives, 10.0),
}


def main() -> int:
    """Run the cases that are named, or all; returns the exit code."""
    parser = argparse.ArgumentParser(prog="tests.faults", description=__doc__)
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help=", ".join(CASES))
    asked = parser.parse_args()
    print(HEAD, flush=True)
    done = [_one(name, asked.cycles) for name in asked.cases or CASES]
    wrong, cycles = sum(len(each.wrong) for each in done), sum(each.cycles for each in done)
    effects = sum(each.effects for each in done)
    print(f"{len(done)} cases, {cycles} cycles, {effects} effects, {wrong} violations")
    return int(wrong > 0)


def _one(name: str, cycles: int) -> Figures:
    case, share = CASES[name]
    try:
        found = case(max(1, round(cycles * share)))
    except (NoMount, NoTrace) as error:
        found = Figures(f"{name}: not run, {error}")
    except Exception as error:
        traceback.print_exc()
        found = Figures(name, wrong=[f"it broke off: {error}"])
    print(found, flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
