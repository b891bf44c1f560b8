"""Whether this controller can do its work: the database, the heartbeat, the configuration.

One answer for everybody who asks: /readyz, the heartbeat URL, `rollout doctor`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from rollout.config import ConfigurationFiles
from rollout.core import reason as say
from rollout.core.errors import RolloutError
from rollout.lifesigns import Beacon
from rollout.ports import Store
from rollout.schedule import Heartbeat

log = structlog.get_logger(__name__)

ANSWER_S = 2.0  # what the database is given


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at; `detail` is a sentence. `warn`: work goes on, yet look."""

    name: str
    ok: bool
    detail: str
    warn: bool = False


class Health:
    """Looks at everything. Causes with paths and queries go to the log, not to whoever asks."""

    def __init__(self, store: Store, files: ConfigurationFiles, heartbeat: Heartbeat) -> None:
        self._store, self._files, self._heartbeat = store, files, heartbeat

    async def checks(self) -> tuple[Check, ...]:
        """What has to be well for work to be done."""
        return (
            await _tried("store", self._database, "The database does not answer; the log says why."),
            await _tried("configuration", self._configuration, "The configuration could not be loaded."),
            self._beats(),
        )

    async def unwell(self) -> str:
        """Why work cannot be done, in sentences; empty while it can."""
        return " ".join(check.detail for check in await self.checks() if not check.ok)

    async def _database(self) -> str:
        await self._store.services()
        await self._store.end_session("")  # ends none; the database must still be able to write
        return "The database answers."

    async def _configuration(self) -> str:
        found = self._files.current
        if self._heartbeat.reload_error:
            return "The newest files cannot be used, so the ones before are; the log names the wrong places."
        policies = say.many(len(found.policies), "policy", "policies")
        return f"In use: {policies} and {say.many(len(found.regions), 'region')}."

    def _beats(self) -> Check:
        last = self._heartbeat.last_tick
        if failing := self._heartbeat.failing_since:
            detail = f"Every look fails since {failing:%H:%M:%S} UTC: nothing is decided; the log says why."
            return Check(name="heartbeat", ok=False, detail=detail)
        if self._heartbeat.alive():
            detail = f"The last tick ended at {last:%H:%M:%S} UTC." if last else "It has just begun to beat."
            return Check(name="heartbeat", ok=True, detail=detail)
        since = f"since {last:%Y-%m-%d %H:%M:%S} UTC" if last else "at all"
        detail = f"The heartbeat is dead: it has not beaten {since}, so nothing is judged."
        return Check(name="heartbeat", ok=False, detail=detail)


def heartbeat_out(beacon: Beacon | None) -> Check | None:
    """How calling the heartbeat URL goes; it failing is no reason to stop work, so it is always ok."""
    if beacon is None:
        return None
    called = f"{beacon.called_at:%Y-%m-%d %H:%M:%S} UTC" if beacon.called_at else "never yet"
    said = f"{beacon.host} was called last at {called}."
    if beacon.trouble:
        said = f"Calling {beacon.host} fails: {beacon.trouble} Answered last: {called}."
    return Check(name="heartbeat_out", ok=True, detail=said, warn=bool(beacon.trouble))


def emergencies(trouble: str) -> Check | None:
    """The record of what was ordered without the database; without trouble there is nothing to say."""
    return Check(name="emergencies", ok=True, detail=trouble, warn=True) if trouble else None


async def _tried(name: str, look: Callable[[], Awaitable[str]], otherwise: str) -> Check:
    try:
        return Check(name=name, ok=True, detail=await asyncio.wait_for(look(), ANSWER_S))
    except (RolloutError, TimeoutError) as error:
        log.error("not ready", check=name, error=str(error) or f"no answer within {ANSWER_S:g} s")
        return Check(name=name, ok=False, detail=getattr(error, "public", "") or otherwise)
