"""Whether this replica can do its work: the database, the heartbeat, the configuration."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from rollout.bootstrap import Controller
from rollout.core.errors import RolloutError

log = structlog.get_logger(__name__)

ANSWER_S = 2.0  # what the database is given


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at; `detail` is a sentence."""

    name: str
    ok: bool
    detail: str


async def checks(controller: Controller) -> tuple[Check, ...]:
    """Look at everything. Causes with paths and queries go to the log, not to whoever asks."""
    return (
        await _tried("store", _store, controller, "The database does not answer; the log says why."),
        await _tried("configuration", _configuration, controller, "The configuration could not be loaded."),
        _heartbeat(controller),
    )


async def _tried(
    name: str, look: Callable[[Controller], Awaitable[str]], controller: Controller, otherwise: str
) -> Check:
    try:
        return Check(name=name, ok=True, detail=await asyncio.wait_for(look(controller), ANSWER_S))
    except (RolloutError, TimeoutError) as error:
        log.error("not ready", check=name, error=str(error) or f"no answer within {ANSWER_S:g} s")
        return Check(name=name, ok=False, detail=otherwise)


async def _store(controller: Controller) -> str:
    await controller.store.services()
    return "The database answers."


async def _configuration(controller: Controller) -> str:
    found = controller.files.current
    if controller.heartbeat.reload_error:
        return "The newest files cannot be used, so the ones before are; the log names the wrong places."
    return f"{len(found.policies)} policies and {len(found.regions)} regions are in use."


def _heartbeat(controller: Controller) -> Check:
    last = controller.heartbeat.last_tick
    if controller.heartbeat.alive():
        detail = f"The last tick ended at {last:%H:%M:%S} UTC." if last else "It has just begun to beat."
        return Check(name="heartbeat", ok=True, detail=detail)
    since = f"since {last:%Y-%m-%d %H:%M:%S} UTC" if last else "at all"
    return Check(
        name="heartbeat",
        ok=False,
        detail=f"The heartbeat is dead: it has not beaten {since}, so nothing is judged.",
    )
