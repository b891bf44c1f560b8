"""What the controller asks for all the time must not read whole tables."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, event

from rollout.core.actions import Lane
from rollout.core.errors import Conflict
from rollout.core.model import Phase
from rollout.ports import Change
from rollout.store import SqlStore
from tests.store.builders import T0, action, at, plan, rollout, touched, transition
from tests.store.places import only
from tests.store.test_history import forget, read, samples, save

QUESTIONS: dict[str, Callable[[SqlStore], Awaitable[object]]] = {
    "due": lambda store: store.due(at(1), 10),
    "case": lambda store: store.case("ro_01"),
    "find": lambda store: store.find("ro_0"),
    "newest": lambda store: store.rollouts(),
    "of a service": lambda store: store.rollouts(service="mail-sender"),
    "of a phase": lambda store: store.rollouts(phases=[Phase.HELD]),
    "busy": lambda store: store.rollouts(busy=True, oldest=True),
    "busy of a service": lambda store: store.rollouts(service="mail-sender", busy=True, before="ro_01"),
    "active": lambda store: store.active("mail-sender"),
    "events": lambda store: store.events(after=3),
    "events of one": lambda store: store.events(rollout_id="ro_01"),
    "newest events of one": lambda store: store.events(rollout_id="ro_01", before=9, newest=True),
    "due actions": lambda store: store.due_actions(at(1), 10),
    "due actions of a lane": lambda store: store.due_actions(
        at(1), 10, lane=Lane.BACK, full=["R3"], besides=["k"]
    ),
    "due actions that follow": lambda store: store.due_actions(
        at(1), 10, lane=Lane.FORWARD, beyond=action("k")
    ),
    "backlog": lambda store: store.backlog(),
    "rollout": lambda store: store.rollout("ro_01"),
    "samples": lambda store: store.samples("mail-sender", ["R3", "R1"], after=3),
    "samples since": lambda store: store.samples("mail-sender", ["R3", "R1"], since=at(3)),
    "service regions": lambda store: store.service_regions("mail-sender"),
    "token": lambda store: store.token("hash"),
    "session": lambda store: store.session("hash", at(1)),
}


class Asked:
    """Keeps the statements of an engine and says which of them read a whole table."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.statements = engine, []
        event.listen(engine, "before_cursor_execute", self._keep)

    def _keep(self, _conn: Any, _cursor: Any, text: str, parameters: Any, _context: Any, many: bool) -> None:
        if text.startswith(("SELECT", "UPDATE", "DELETE")):
            self.statements.append((text, parameters[0] if many else parameters))

    def scans(self) -> list[str]:
        if self.engine.dialect.name == "postgresql":
            return self._sequential()
        return [step for step in self.steps("SCAN") if "USING" not in step.split(": ")[0]]

    def _sequential(self) -> list[str]:
        """What PostgreSQL could only answer by reading a whole table, however small it is."""
        event.remove(self.engine, "before_cursor_execute", self._keep)
        found = []
        with self.engine.begin() as conn:
            conn.exec_driver_sql("SET LOCAL enable_seqscan = off")
            for text, parameters in self.statements:
                if text.startswith(("SELECT pg_", "SELECT set_")):
                    continue
                plan = [row[0] for row in conn.exec_driver_sql(f"EXPLAIN {text}", parameters)]
                found += [f"{line}: {text}" for line in plan if "Seq Scan" in line]
        return found

    def steps(self, beginning: str) -> list[str]:
        """What SQLite would do for the statements, with the text of each."""
        if event.contains(self.engine, "before_cursor_execute", self._keep):
            event.remove(self.engine, "before_cursor_execute", self._keep)
        with self.engine.begin() as conn:
            return [
                f"{row.detail}: {text}"
                for text, parameters in self.statements
                for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", parameters)
                if row.detail.startswith(beginning)
            ]


@pytest.mark.parametrize("name", QUESTIONS)
async def test_a_frequent_question_is_answered_from_an_index(store: SqlStore, name: str) -> None:
    await store.add(rollout(phase=Phase.HELD), plan(), transition(1))
    asked = Asked(store.database.read)
    await QUESTIONS[name](store)
    assert asked.statements
    assert asked.scans() == []


async def test_a_decision_finds_every_row_by_an_index(store: SqlStore) -> None:
    await store.add(rollout("ro_02"), plan(), transition(1, "ro_02"))
    other = await store.commit(Change(rollout=touched(rollout("ro_02"), "R3"), claim=("R3",)))
    await store.add(rollout(), plan(), transition(1))
    everything = Change(
        rollout=replace(rollout(), phase=Phase.ROLLING_BACK),
        drop_actions=("a",),
        intents_done=("b",),
        generations={"R1": 1},
        claim=("R1",),
        rolled_back=True,
    )
    asked = Asked(store.database.write)
    found = await store.commit(everything)
    with pytest.raises(Conflict):
        await store.commit(replace(everything, rollout=found, claim=("R3",), generations={}))
    await store.commit(Change(rollout=replace(other, phase=Phase.SUCCEEDED)))
    assert len(asked.statements) > 12
    assert asked.scans() == []


SQLITE_PLANS = only("sqlite")  # the words of these plans are SQLite's


@SQLITE_PLANS
async def test_what_has_ended_is_not_walked_through_to_find_what_is_busy(store: SqlStore) -> None:
    await store.add(rollout(phase=Phase.HELD), plan(), transition(1))
    asked = Asked(store.database.read)
    await store.rollouts(busy=True, oldest=True)
    assert asked.steps("SCAN") == []
    assert len(asked.steps("SEARCH rollouts USING")) == 3  # unfinished, due again, and the rows of both


@SQLITE_PLANS
@pytest.mark.parametrize("regions", [["R3"], ["R3", "R1"]])
async def test_samples_are_read_in_order_and_never_sorted(store: SqlStore, regions: list[str]) -> None:
    await save(store, samples(T0, 6))
    asked = Asked(store.database.read)
    assert await store.samples("mail-sender", regions, after=3)
    assert asked.steps("USE TEMP") == []
    assert len(asked.steps("SEARCH samples USING INDEX ix_samples_service (service=? AND sequence>?)")) == 1


@SQLITE_PLANS
async def test_history_is_read_by_its_key_and_samples_by_region_and_time(store: SqlStore) -> None:
    await save(store, samples(T0, 12))
    await forget(store, at(3660))
    asked = Asked(store.database.read)
    assert await read(store, T0, at(7200))
    assert [step for step in asked.scans() if not step.startswith("SCAN history_marks")] == []
    assert (
        len(asked.steps("SEARCH history USING PRIMARY KEY (series=? AND length_s=? AND start>? AND start<?)"))
        == 1
    )
    assert asked.steps(
        "SEARCH samples USING INDEX ix_samples_place (service=? AND region=? AND time>? AND time<?)"
    )


@SQLITE_PLANS
async def test_making_and_thinning_history_walks_through_accounts_only(store: SqlStore) -> None:
    await save(store, samples(T0, 12))
    asked = Asked(store.database.write)
    for days in (0.05, 2, 20, 40):
        await forget(store, at(days * 86400))
    touched = {text.split()[2].strip('"') for text, _ in asked.statements if text.startswith("DELETE")}
    assert touched >= {"samples", "history", "history_days", "series"}
    small = ("SCAN history_marks", "SCAN history_days", "SCAN sessions", "SCAN tokens", "SCAN replicas")
    assert [step for step in asked.steps("SCAN") if not step.startswith(small)] == []
