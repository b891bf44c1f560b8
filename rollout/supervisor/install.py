"""`python -m rollout.supervisor.install SERVICE VERSION`: what a region runs before there is any rollout.

A rollout replaces something known good, so the first version comes by another way: yours, or this one, which
orders it from every region's deployer. Adopt it afterwards. Regions that run something already refuse.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Iterable

from rollout import http as web
from rollout.clock import SystemClock
from rollout.config import load_configuration
from rollout.core.actions import Action
from rollout.core.errors import Conflict, RolloutError
from rollout.core.model import Kind, Region
from rollout.ports import Deployer, Progress
from rollout.registry import DEPLOYERS, Surroundings
from rollout.settings import load_settings

POLL_S = 0.3


async def order(
    regions: Iterable[Region], deployer: Callable[[Region], Deployer], service: str, version: str
) -> None:
    """Order `version` everywhere. Raises Conflict where another runs, TransientError without an answer."""
    waiting = []
    for region in regions:
        target = deployer(region)
        other = sorted({one.version for one in await target.instances(service)} - {version})
        if other:
            raise Conflict(
                f"{region.name} runs {service} {', '.join(other)}; bring {version} there by a rollout."
            )
        first = Action(kind=Kind.RESTORE, region=region.name, service=service, version=version, weight=100)
        if not await _done(target, first):
            waiting.append((target, first))
    for target, first in waiting:
        while not await _done(target, first):  # noqa: ASYNC110 - a deployer is asked; it tells nobody
            await asyncio.sleep(POLL_S)


async def _done(target: Deployer, first: Action) -> bool:
    reply = await target.apply(f"install/{first.region}/{first.service}", first)
    if reply.progress is Progress.FAILED:
        raise Conflict(f"{first.region} cannot run {first.version}: {reply.result.message}")
    return reply.progress is Progress.SUCCEEDED


async def _install(service: str, version: str) -> None:
    settings = load_settings()
    configuration = load_configuration(settings.config)
    async with web.client() as http:

        def deployer(region: Region) -> Deployer:
            around = Surroundings(region=region.name, http=http, clock=SystemClock(), directory=settings.data)
            return DEPLOYERS.build(region.deployer.kind, region.deployer.options, around)

        await order(configuration.regions.values(), deployer, service, version)
    names = ", ".join(configuration.regions)
    print(f"{service} {version} runs in {names}. Next: rollout adopt {service} --reason '…'")


def main() -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="rollout.supervisor.install", description=__doc__)
    parser.add_argument("service")
    parser.add_argument("version")
    arguments = parser.parse_args()
    try:
        asyncio.run(_install(arguments.service, arguments.version))
    except RolloutError as error:
        print(f"✖ {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
