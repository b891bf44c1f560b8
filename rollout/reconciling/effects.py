"""Act: recorded actions are done by tasks of their own, each with its key, and marked done afterwards.

A slow or dead target delays nobody else. After a crash, what is recorded and not done is done again.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from rollout.config import Configuration
from rollout.core.actions import GOING_BACK, ActionRecord, ActionResult
from rollout.core.errors import OutsideError, PermanentError, gone_wrong
from rollout.core.model import ActionState, Kind, Region
from rollout.ports import Clock, Deployer, Notice, Notifier, Progress, Reply, Store
from rollout.telemetry.onlooker import NOBODY, Attempted, Onlooker

log = structlog.get_logger(__name__)

BATCH = 100  # actions begun in one tick
APPLY_TIMEOUT_S = 30.0
POLL_S = 0.5  # before asking again about an action that is under way
RETRY_S, RETRY_CAP_S, RETRY_BACK_CAP_S = 0.5, 15.0, 5.0  # going back is retried more often


class Effects:
    """Does what was recorded. `forbidden` says whether an action must wait; `changed` is told of each end."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        configuration: Callable[[], Configuration],
        deployer: Callable[[Region], Deployer],
        notifier: Notifier,
        forbidden: Callable[[ActionRecord], bool],
        changed: Callable[[], None],
        onlooker: Onlooker = NOBODY,
    ) -> None:
        self._store, self._clock, self._configuration = store, clock, configuration
        self._deployer, self._notifier = deployer, notifier
        self._forbidden, self._changed, self._onlooker = forbidden, changed, onlooker
        self._doing: dict[str, asyncio.Task[None]] = {}

    @property
    def under_way(self) -> tuple[asyncio.Task[None], ...]:
        """The attempts that have not ended."""
        return tuple(self._doing.values())

    async def act(self) -> None:
        """Begin every action that is due, and that no doubt forbids."""
        for record in await self._store.due_actions(self._clock.now(), BATCH):
            if record.key not in self._doing and not self._forbidden(record):
                task = asyncio.create_task(self._do(record), name=record.key)
                self._doing[record.key] = task
                task.add_done_callback(lambda done: self._doing.pop(done.get_name(), None))

    async def _do(self, record: ActionRecord) -> None:
        """One attempt at one action, and its result recorded."""
        with structlog.contextvars.bound_contextvars(**_names(record)):
            began = self._clock.now()
            try:
                ended = await self._attempt(record)
                await self._store.save_action(ended)
                if not ended.open:
                    self._changed()
            except Exception as error:
                log.warning("action not recorded; it is done again", error=str(error))
            else:
                _say(ended)
                self._onlooker.attempted(Attempted(record=ended, began=began, ended=self._clock.now()))

    async def _attempt(self, record: ActionRecord) -> ActionRecord:
        record = replace(record, attempts=record.attempts + 1)
        try:
            async with asyncio.timeout(APPLY_TIMEOUT_S):
                reply = await self._apply(record)
        except PermanentError as error:
            return _ended(record, ActionState.FAILED, ActionResult(message=str(error)), self._clock.now())
        except Exception as error:  # also what nobody foresaw is tried again, visibly and ever more slowly
            if not isinstance(error, OutsideError | TimeoutError):
                log.exception("action failed in a way that nobody foresaw")
            message = gone_wrong(error, APPLY_TIMEOUT_S)
            return _again(record, message, self._clock.now(), unreachable=True)
        if reply.progress is Progress.RUNNING:
            return _again(record, reply.result.message, self._clock.now(), unreachable=False)
        good = reply.progress is Progress.SUCCEEDED
        state = ActionState.SUCCEEDED if good else ActionState.FAILED
        return _ended(record, state, reply.result, self._clock.now())

    async def _apply(self, record: ActionRecord) -> Reply:
        action = record.action
        if action.kind is Kind.NOTIFY:
            await self._notifier.send(
                Notice(
                    key=record.key,
                    rollout_id=record.rollout_id,
                    service=action.service,
                    text=str(action.details["text"]),
                    urgent=bool(action.details["urgent"]),
                )
            )
            return Reply(progress=Progress.SUCCEEDED)
        deployer = self._deployer(await self._region(record))
        if action.kind not in deployer.supports:
            message = f"The deployer of {action.region} has no '{action.kind}'."
            return Reply(
                progress=Progress.FAILED, result=ActionResult(message=message, details={"unsupported": True})
            )
        return await deployer.apply(record.key, action)

    async def _region(self, record: ActionRecord) -> Region:
        """The region as configured now; one that was removed since is taken from the plan."""
        name = record.action.region or ""
        found = self._configuration().regions.get(name)
        return found or (await self._store.case(record.rollout_id)).plan.regions[name]


def _names(record: ActionRecord) -> dict[str, str]:
    """What every line of the log about this attempt has."""
    action = record.action
    where = {"region": action.region} if action.region else {}
    known = {"rollout_id": record.rollout_id, "service": action.service, **where}
    return {**known, "action": record.key, "kind": action.kind}


def _say(record: ActionRecord) -> None:
    """One line when an action has ended, and one when its target begins to be silent."""
    message, attempts = record.result.message, record.attempts
    if record.state is ActionState.FAILED:
        log.warning("action failed", attempts=attempts, message=message)
    elif not record.open:
        log.info("action done", attempts=attempts, message=message)
    elif record.unreachable_since is not None and attempts == 1:
        log.warning("action not answered; trying again", message=message)


def _ended(record: ActionRecord, state: ActionState, result: ActionResult, now: datetime) -> ActionRecord:
    return replace(record, state=state, result=result, ended_at=now, unreachable_since=None)


def _again(record: ActionRecord, message: str, now: datetime, *, unreachable: bool) -> ActionRecord:
    """Ask again later, unless its deadline has passed."""
    if record.deadline and now >= record.deadline:
        took = (now - record.recorded_at).total_seconds()
        text = f"not done within {took:.0f} s. {message}"
        return _ended(record, ActionState.FAILED, ActionResult(message=text), now)
    cap = RETRY_BACK_CAP_S if record.action.kind in GOING_BACK else RETRY_CAP_S
    wait = min(cap, RETRY_S * 2.0 ** min(record.attempts, 10)) if unreachable else POLL_S
    return replace(
        record,
        due_at=now + timedelta(seconds=wait),
        result=ActionResult(message=message),
        unreachable_since=(record.unreachable_since or now) if unreachable else None,
    )
