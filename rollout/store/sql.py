"""The SQL store: every method of the Store protocol as one transaction, run beside the event loop.

What a method does is in the module of its noun (rollouts.py, commit.py, actions.py, readings.py, services.py,
access.py); here are only transactions, patience with locks, and errors made ours.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from rollout.core.actions import ActionRecord, Lane
from rollout.core.errors import StoreError
from rollout.core.judge.evidence import RegionEvidence
from rollout.core.model import (
    Doubt,
    Intent,
    KnownGood,
    Phase,
    Rollout,
    Service,
    ServiceRegion,
    Transition,
)
from rollout.core.plan import Plan
from rollout.core.signals import Sample, Signal
from rollout.highwater import Mark
from rollout.once import Answer, Claim, Kept, current_claim
from rollout.ports import (
    Backlog,
    Case,
    Change,
    Emergency,
    Event,
    Fence,
    Held,
    Keep,
    Observed,
    Replica,
    SeenReplica,
    Store,
    Token,
)
from rollout.store import (
    access,
    actions,
    claims,
    doubt,
    emergencies,
    history,
    keeping,
    readings,
    requests,
    rollouts,
    services,
)
from rollout.store import evidence as begun
from rollout.store.commit import commit
from rollout.store.database import Database
from rollout.store.engine import open_database
from rollout.store.migrations import upgrade
from rollout.store.running import Run, inline
from rollout.store.sqlite import BUSY_S

T = TypeVar("T")
P = ParamSpec("P")
Work = Callable[Concatenate[Connection, P], T]


def open_store(url: str, *, run: Run | None = None, busy_s: float = BUSY_S) -> "SqlStore":
    """Open the database of `url`, bring its schema up to date, and serve it. Raises StoreError."""
    database = open_database(url, busy_s=busy_s)
    try:
        upgrade(database)
    except BaseException:
        database.close()
        raise
    return SqlStore(database, run=run)


class SqlStore(Store):
    """The Store of one database. `run` says where the work is done: a thread of its own unless told."""

    def __init__(self, database: Database, *, run: Run | None = None) -> None:
        self.database = database
        self.wrote: Callable[[], None] = lambda: None  # called after history was written
        self._own = None if run else database.threads()
        reading, writing = self._own or (run, run)
        self._runs: dict[Engine, Run | None] = {database.read: reading, database.write: writing}

    def close(self) -> None:
        """Finish the work under way and close the database."""
        for threads in self._own or ():
            threads.close()
        self.database.close()

    async def _read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._transaction(self.database.read, lambda conn: work(conn, *args, **kwargs))

    async def _write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._effect("", work, *args, **kwargs)

    async def _effect(self, resource: str, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Write, and mark the request with a key that this is done for; `resource` says what it is about."""
        claim = current_claim()

        def marked(conn: Connection) -> T:
            if claim is not None:
                requests.mark(conn, claim, resource)
            return work(conn, *args, **kwargs)

        return await self._transaction(self.database.write, marked)

    async def _unmarked(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._transaction(self.database.write, lambda conn: work(conn, *args, **kwargs))

    async def _transaction(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        """What failed only because of others is tried again; pauses differ, so that all get on."""
        run, once = self._runs[engine] or inline, partial(self.database.run, engine, work)
        for pause_s in (*self.database.pauses_s, None):
            try:
                return await run(once)
            except DBAPIError as error:
                if pause_s is None or not self.database.again(error):
                    raise self.database.explained(error) from error
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311  # no secret
            except PoolTimeout as error:
                text = f"No connection to the database '{self.database.name}' was free in time; tried again."
                raise StoreError(text) from error
        raise AssertionError("the last try returns or raises")

    # ------------------------------------------------------------------ claims

    async def hold(self, replica: Replica, *, instead_of: str | None, busy: Collection[str] = ()) -> Held:
        """Renew a lease, take what is free up to a fair share. Raises Fenced for a doubled identity."""

        def work(conn: Connection) -> Held:
            return claims.hold(conn, self.database.now(conn), replica, instead_of=instead_of, busy=busy)

        return await self._unmarked(work)

    async def leave(self, replica: Replica) -> None:
        """Stop in order: others take its services at once."""
        await self._unmarked(lambda conn: claims.leave(conn, self.database.now(conn), replica))

    async def free(self) -> bool:
        """Whether some service has no living owner."""
        return await self._read(lambda conn: claims.any_free(conn, self.database.now(conn)))

    async def replicas(self) -> tuple[SeenReplica, ...]:
        """Those whose lease held within the last day, by id, and what each holds."""
        return await self._read(lambda conn: claims.replicas(conn, self.database.now(conn)))

    # ------------------------------------------------------------------ rollouts

    async def due(self, now: datetime, limit: int, owner: str | None = None) -> tuple[str, ...]:
        """Ids of rollouts that want to be looked at, the longest overdue first."""
        return await self._read(rollouts.due, now, limit, owner)

    async def case(self, rollout_id: str) -> Case:
        """One rollout with everything that a decision needs. Raises NotFound."""
        return await self._read(rollouts.facts, rollout_id)

    async def rollout(self, rollout_id: str) -> Rollout:
        """One rollout itself. Raises NotFound."""
        return await self._read(rollouts.one, rollout_id)

    async def find(self, prefix: str) -> str:
        """The id that begins with `prefix`. Raises NotFound for none, Conflict for several."""
        return await self._read(rollouts.find, prefix)

    async def rollouts(
        self,
        *,
        service: str | None = None,
        phases: Sequence[Phase] = (),
        busy: bool = False,
        oldest: bool = False,
        limit: int = 50,
        before: str | None = None,
    ) -> tuple[Rollout, ...]:
        """Rollouts, newest first unless `oldest`, beyond the id `before`. Raises NotFound for that id."""
        wanted = rollouts.Wanted(service=service, phases=phases, busy=busy, oldest=oldest)
        return await self._read(rollouts.listed, wanted, limit=limit, before=before)

    async def active(self, service: str) -> tuple[Rollout, ...]:
        """Unfinished rollouts of a service, oldest first."""
        return await self._read(rollouts.active, service)

    async def phase_counts(self) -> Mapping[Phase, int]:
        """How many rollouts stand in each phase."""
        return await self._read(rollouts.phase_counts)

    async def add(
        self,
        rollout: Rollout,
        plan: Plan,
        transition: Transition,
        intents: Sequence[Intent] = (),
        beside: Collection[str] | None = None,
    ) -> None:
        """A new rollout with the first row of its history. Raises Conflict when its id is taken.

        `beside`: those that it may find under way in its regions; StaleWrite where another has come since.
        """
        about = f"rollout:{rollout.id}"
        await self._effect(about, rollouts.add, rollout, plan, transition, intents, beside)
        self.wrote()

    async def commit(self, change: Change, fence: Fence | None = None) -> Rollout:
        """Write a decision. Raises NotFound, Fenced, StaleWrite for old facts, Conflict for a busy region."""
        written = await self._write(commit, change, fence)
        self.wrote()
        return written

    async def ask(self, intent: Intent) -> None:
        """Record what somebody wants and make its rollout due. Raises NotFound, Conflict and StaleWrite."""
        await self._effect(f"rollout:{intent.rollout_id}", rollouts.ask, intent)

    async def events(
        self,
        *,
        rollout_id: str | None = None,
        after: int = 0,
        before: int | None = None,
        newest: bool = False,
        limit: int = 200,
    ) -> tuple[Event, ...]:
        """Transitions of all rollouts, or of one, between two sequence numbers, in order."""
        place = rollouts.Span(after=after, before=before, newest=newest, limit=limit)
        return await self._read(rollouts.events, rollout_id, place)

    async def stamps(self, rollout_ids: Collection[str]) -> Mapping[str, int]:
        """By id, a number that rises with every write to a rollout; unknown ids have none."""
        return await self._read(rollouts.stamps, rollout_ids)

    async def newest_sequence(self) -> int:
        """The place of the newest event in the global sequence; 0 while there is none."""
        return await self._read(rollouts.newest_sequence)

    # ------------------------------------------------------------------ requests with a key

    async def reserve(self, claim: Claim) -> Kept:
        """Take the key unless another copy has it; what is known of it then."""
        return await self._unmarked(requests.reserve, claim)

    async def keep_answer(self, claim: Claim, answer: Answer) -> Answer:
        """Keep the first answer; the one that is kept."""
        return await self._unmarked(requests.answer, claim, answer)

    async def release(self, claim: Claim) -> None:
        """End a copy without an answer."""
        await self._unmarked(requests.release, claim)

    # ------------------------------------------------------------------ actions

    async def due_actions(
        self,
        now: datetime,
        limit: int,
        owner: str | None = None,
        *,
        lane: Lane | None = None,
        full: Collection[str] = (),
        besides: Collection[str] = (),
        beyond: ActionRecord | None = None,
    ) -> tuple[ActionRecord, ...]:
        """Pending actions that wait for nothing any more; going back first."""
        wanted = actions.Wanted(owner=owner, lane=lane, full=full, besides=besides, beyond=beyond)
        return await self._read(actions.due, now, limit, wanted)

    async def backlog(self) -> Mapping[Lane, Backlog]:
        """What is pending in each lane."""
        return await self._read(actions.backlog)

    async def save_action(self, record: ActionRecord, fence: Fence | None = None) -> bool:
        """Store an attempt unless the action has ended meanwhile; an end makes its rollout due."""
        return await self._write(actions.save, record, fence)

    # ------------------------------------------------------------------ observation

    async def begin_evidence(
        self, rollout_id: str, evidence: RegionEvidence, fence: Fence | None = None
    ) -> None:
        """Keep what was begun on its history, unless there is evidence that can be gone on with."""
        await self._write(begun.begin, rollout_id, evidence, fence)

    async def observed(self) -> tuple[Observed, ...]:
        """How far the observation of every service and region has come."""
        return await self._read(readings.observed)

    async def save_reading(
        self,
        observed: Observed,
        samples: Sequence[Sample],
        running: Mapping[str, int] | None,
        fence: Fence | None = None,
    ) -> None:
        """Store the cursor, the samples and, when it was read back, what runs."""
        await self._write(readings.save, observed, samples, running, fence)

    async def samples(
        self,
        service: str,
        regions: Sequence[str],
        *,
        after: int = 0,
        since: datetime | None = None,
        limit: int = 5000,
    ) -> tuple[tuple[int, Sample], ...]:
        """Samples of several regions with their sequence numbers, in the one order of these."""
        return await self._read(readings.samples, service, regions, after=after, since=since, limit=limit)

    async def history(
        self,
        service: str,
        regions: Sequence[str],
        *,
        signals: Collection[Signal],
        versions: Collection[str],
        since: datetime,
        until: datetime,
        block_s: float,
    ) -> tuple[Sample, ...]:
        """A sample for each whole block in (since, until], in order of time; a transaction each 6 hours.

        `time` is the END of a block and `duration_s` its length: `block_s`, or more where older history was
        thinned. Values and exposures are sums; of a gauge, the median of its values and the mean exposure.
        """
        wanted = history.Wanted(
            service=service, regions=regions, signals=signals, versions=versions, block_s=block_s
        )
        found: list[Sample] = []
        first = await self._read(history.earliest, wanted, since)
        for begin, end in history.pages(first, until, block_s) if first else ():
            found += await self._read(history.page, wanted, begin, end)
        return tuple(found)

    async def forget(self, now: datetime, keep: Keep) -> bool:
        """One bounded step of making history and deleting what is too much. True: more is to do."""
        return await self._write(keeping.step, self.database.room, now, keep)

    async def size(self) -> int:
        """Bytes on the disk."""
        return await self._read(self.database.size)

    # ------------------------------------------------------------------ services

    async def services(self) -> tuple[Service, ...]:
        """All services by name."""
        return await self._read(services.every)

    async def service(self, name: str) -> Service:
        """One service. Raises NotFound."""
        return await self._read(services.one, name)

    async def put_service(self, service: Service) -> Service:
        """Declare, or replace the version that was read; a stop stays. Raises StaleWrite."""
        return await self._write(services.declare, service)

    async def service_regions(self, service: str) -> tuple[ServiceRegion, ...]:
        """What is known of a service in each region, by region."""
        return await self._read(services.regions, service)

    async def adopt(self, known_good: Sequence[KnownGood], looked_at: Sequence[ServiceRegion] = ()) -> None:
        """A person says what is good; each generation rises. Raises StaleWrite when that has moved since."""
        about = f"service:{known_good[0].service}" if known_good else ""
        await self._effect(about, services.adopt, known_good, looked_at)

    async def was_rolled_back(self, service: str, version: str) -> str | None:
        """By which rollout, the last time."""
        return await self._read(services.was_rolled_back, service, version)

    async def doubted(self) -> tuple[ServiceRegion, ...]:
        """Where nothing is ordered since the database was put back, by service and region."""
        return await self._read(doubt.doubted)

    async def settle_doubt(
        self,
        service: str,
        region: str,
        found: Doubt | None,
        fence: Fence | None = None,
        *,
        of: Doubt | None = None,
    ) -> None:
        """Keep what a reading found; None ends the doubt. With `of`, only while that is the doubt."""
        await self._write(doubt.settle, service, region, found, fence, of=of)

    async def every_region(self) -> tuple[ServiceRegion, ...]:
        """What is known of every service in every region."""
        return await self._read(emergencies.every_region)

    async def known_good_stamp(self) -> tuple[int, int, int]:
        """Changes with every known good and every fence."""
        return await self._read(emergencies.stamp)

    async def know_again(self, pair: ServiceRegion) -> bool:
        """Put in what a signed file knows of a pair, unless it is known here."""
        return await self._write(emergencies.know_again, pair)

    async def taken_in(self) -> frozenset[tuple[str, str]]:
        """Key and state of each emergency that is known here."""
        return await self._read(emergencies.taken_in)

    async def take_in(self, emergency: Emergency, now: datetime) -> bool:
        """Reconcile with what was ordered without this database; False when that is known already."""
        taken = await self._write(emergencies.take_in, emergency, now)
        self.wrote()
        return taken

    async def newest_event(self) -> Mark:
        """How far history came."""
        return await self._read(doubt.newest_event)

    async def distrust_if_old(self, now: datetime, number: int, event: str = "", epochs: int = 0) -> str:
        """Put every region in doubt when this database lacks what a mark says; why, in a sentence."""
        known = Mark(number, event, epochs)
        if not await self._read(doubt.why_old, known):
            return ""
        return await self._write(doubt.distrust_if_old, now, known)

    # ------------------------------------------------------------------ access

    async def add_token(self, token: Token, secret_hash: str) -> None:
        """Store a token. Raises Conflict when its id, its secret, or its name among valid ones is known."""
        await self._effect(f"token:{token.id}", access.add_token, token, secret_hash)

    async def token(self, secret_hash: str) -> Token | None:
        """The token of a secret, also when it has expired or was revoked."""
        return await self._read(access.token, secret_hash)

    async def tokens(self) -> tuple[Token, ...]:
        """All tokens, oldest first."""
        return await self._read(access.tokens)

    async def revoke_token(self, token_id: str, at: datetime) -> None:
        """End a token and its sessions. Raises NotFound."""
        await self._write(access.revoke, token_id, at)

    async def add_session(self, session_hash: str, token_id: str, csrf: str, expires_at: datetime) -> None:
        """Sign a browser in. Raises NotFound for an unknown token."""
        await self._write(access.add_session, session_hash, token_id, csrf, expires_at)

    async def session(self, session_hash: str, now: datetime) -> tuple[Token, str] | None:
        """The token and the form secret of a session; None once it, or its token, has ended."""
        return await self._read(access.session, session_hash, now)

    async def end_session(self, session_hash: str) -> None:
        """Sign out; ending what is not there is fine."""
        await self._write(access.end_session, session_hash)
