"""Act: recorded actions are done by tasks of their own, each with its key, and marked done afterwards.

Each lane has room of its own in each place (lanes.py), so a slow or dead target delays nobody else. After a
crash, what is recorded and not done is done again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count

import structlog

from rollout.config import Configuration
from rollout.core.actions import ActionRecord, ActionResult, Lane
from rollout.core.errors import Fenced, OutsideError, PermanentError, gone_wrong
from rollout.core.invariants import may_begin
from rollout.core.model import ActionState, Kind, Region
from rollout.http import pool
from rollout.ports import Clock, Deployer, Fence, Progress, Reply, Store
from rollout.reconciling import attempts
from rollout.reconciling.holding import Holding
from rollout.reconciling.lanes import Lanes
from rollout.telemetry.onlooker import NOBODY, Attempted, Onlooker

log = structlog.get_logger(__name__)

BATCH = 100  # actions that are read at once
APPLY_TIMEOUT_S = 30.0
FORGOTTEN = timedelta(minutes=10)  # after an action that could not be stored was due again, and was not found
FORWARD = frozenset({Kind.DEPLOY, Kind.REHEARSE})  # wait where nobody can say whether they may begin


class Effects:
    """Does what was recorded. `forbidden` says whether an action must wait; `changed` is told of each end."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        configuration: Callable[[], Configuration],
        deployer: Callable[[Region], Deployer],
        send: Callable[[ActionRecord], Awaitable[None]],
        holding: Holding,
        forbidden: Callable[[ActionRecord], bool],
        changed: Callable[[], None],
        onlooker: Onlooker = NOBODY,
    ) -> None:
        self._store, self._clock, self._configuration = store, clock, configuration
        self._deployer, self._send, self._holding = deployer, send, holding
        self._forbidden, self._changed, self._onlooker = forbidden, changed, onlooker
        self._doing: dict[str, asyncio.Task[None]] = {}
        self._fences: dict[str, Fence] = {}  # under which it is being done, by key
        self._unstored: dict[str, attempts.Unstored] = {}
        self._lanes = Lanes()

    @property
    def under_way(self) -> tuple[asyncio.Task[None], ...]:
        """The attempts that have not ended."""
        return tuple(self._doing.values())

    @property
    def busy(self) -> frozenset[str]:
        """The services for which something is being done."""
        return frozenset(fence.service for fence in self._fences.values())

    def leave_lost(self) -> None:
        """Stop what is done for services that another replica may hold; it goes on with the same key.

        So is what was begun under an older claim: the database may have gone back since, and its key and its
        generation may be those of another order now.
        """
        for key, fence in self._fences.items():
            if not self._holding.holds(fence):
                self._doing[key].cancel()
        held, since = self._holding.services, self._clock.now() - FORGOTTEN
        self._unstored = {
            key: one for key, one in self._unstored.items() if one.service in held and one.until > since
        }

    async def act(self) -> None:
        """Begin, lane by lane, whatever is due and may be begun: what goes back first."""
        now, owner = self._clock.now(), self._holding.owner
        if await self._store.due_actions(now, 1, owner, besides=self._doing):
            for lane in Lane:
                await self._fill(lane)

    async def _fill(self, lane: Lane) -> None:
        """Give the lane's room to what is due the longest; what may not be begun hides nothing behind it.

        It is read in ever larger parts: each part sorts all that is due.
        """
        last: ActionRecord | None = None
        for many in (BATCH * 4**part for part in count()):
            found = await self._store.due_actions(
                self._clock.now(),
                many,
                self._holding.owner,
                lane=lane,
                full=self._lanes.full(lane),
                besides=self._lanes.keys(lane),
                beyond=last,
            )
            for last in found:
                self._begin(lane, last)
            if len(found) < many:
                return

    def _begin(self, lane: Lane, record: ActionRecord) -> bool:
        """Begin an attempt where no doubt forbids it, the lease leaves time for it, and there is room."""
        if self._forbidden(record) or not self._holding.may_act(record.action.service):
            return False
        if (waits := self._unstored.get(record.key)) and self._clock.now() < waits.until:
            return False
        if record.key in self._doing or not self._lanes.enter(lane, record.place, record.key):
            return False
        fence = self._holding.fence(record.action.service)
        task = asyncio.create_task(self._do(lane, record, fence), name=record.key)
        self._doing[record.key], self._fences[record.key] = task, fence
        task.add_done_callback(lambda _: self._left(lane, record))
        return True

    def _left(self, lane: Lane, record: ActionRecord) -> None:
        """Its room is free; where there was none, others may wait for it."""
        self._doing.pop(record.key, None)
        self._fences.pop(record.key, None)
        if self._lanes.leave(lane, record.place, record.key):
            self._changed()

    async def _do(self, lane: Lane, record: ActionRecord, fence: Fence) -> None:
        """One attempt at one action, over connections of its lane and place, and its result recorded."""
        with (
            structlog.contextvars.bound_contextvars(**attempts.names(record)),
            pool(f"{lane}/{record.place}"),
        ):
            began = self._clock.now()
            try:
                after = await self._attempt(lane, record)
                await self._save(after, fence)
                if not after.open:
                    self._changed()
            except Fenced as error:
                log.warning("action not recorded; the replica that holds it does it", error=str(error))
                return
            except Exception as error:
                after = self._put_off(lane, record, error)
            else:
                self._unstored.pop(record.key, None)
                attempts.say(record, after)
            self._onlooker.attempted(Attempted(record=after, began=began, ended=self._clock.now()))

    def _put_off(self, lane: Lane, record: ActionRecord, error: Exception) -> ActionRecord:
        """Nothing of an attempt could be stored: it is made again for as long as it takes; nobody waits."""
        now = self._clock.now()
        waits = attempts.unstored(record, lane, self._unstored.get(record.key), now)
        self._unstored[record.key] = waits
        in_s = (waits.until - now).total_seconds()
        log.warning("action not recorded; it is done again", error=str(error), times=waits.times, in_s=in_s)
        return replace(record, unreachable_since=record.unreachable_since or now)

    async def _save(self, record: ActionRecord, fence: Fence) -> None:
        """Record what became of an attempt, under the claim of its begin. Raises Fenced when that is over."""
        try:
            await self._store.save_action(record, fence)
        except Fenced:
            self._holding.lost(fence)
            raise

    async def _attempt(self, lane: Lane, record: ActionRecord) -> ActionRecord:
        if record.action.kind is not Kind.NOTIFY and (why := await self._barred(record)):
            return attempts.held_off(record, why, self._clock.now())
        record = attempts.begun(record, self._clock.now())
        try:
            async with asyncio.timeout(APPLY_TIMEOUT_S):
                reply = await self._apply(record)
        except PermanentError as error:
            failed = ActionResult(message=str(error))
            return attempts.ended(record, ActionState.FAILED, failed, self._clock.now())
        except Exception as error:  # also what nobody foresaw is tried again, visibly and ever more slowly
            if not isinstance(error, OutsideError | TimeoutError):
                log.exception("action failed in a way that nobody foresaw")
            message = gone_wrong(error, APPLY_TIMEOUT_S)
            return attempts.unanswered(record, lane, message, self._clock.now())
        if reply.progress is Progress.RUNNING:
            return attempts.running(record, reply.result.message, self._clock.now())
        good = reply.progress is Progress.SUCCEEDED
        state = ActionState.SUCCEEDED if good else ActionState.FAILED
        return attempts.ended(record, state, reply.result, self._clock.now())

    async def _barred(self, record: ActionRecord) -> str:
        """Why it may not begin, by what is stored now: a decision may have come since it was found due.

        The process may have stood still since then as well, so the lease is looked at last.
        """
        rollout = await self._store.rollout(record.rollout_id)
        try:
            why = may_begin(record, rollout)
        except Exception as error:  # what takes users back does not wait until the check is mended
            log.exception("whether an action may begin cannot be said; report it")
            self._onlooker.undecided()
            found = f"Whether it may begin cannot be said ({type(error).__name__}: {error}). Report it."
            why = found if record.action.kind in FORWARD else ""
        held = self._holding.may_act(record.action.service)
        return why or ("" if held else "The lease of this replica is over, or nearly; another may do it.")

    async def _apply(self, record: ActionRecord) -> Reply:
        action = record.action
        if action.kind is Kind.NOTIFY:
            await self._send(record)
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
