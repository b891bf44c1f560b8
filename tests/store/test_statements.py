"""What is asked in every look is asked in few statements, and what is stored once is read once."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event

from rollout.core.actions import Lane
from rollout.ports import Replica
from rollout.store import SqlStore, actions
from tests.store.builders import plan, rollout, service, transition

ANN = Replica(id="ann", incarnation="ann-1")


@contextmanager
def statements(store: SqlStore) -> Iterator[list[str]]:
    """The statements that are executed inside."""
    seen: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(store.database.write, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(store.database.write, "before_cursor_execute", note)


async def test_a_lease_that_is_renewed_and_changes_nothing_takes_few_statements(store: SqlStore) -> None:
    await store.put_service(service("mail"))
    held = await store.hold(ANN, instead_of=None)
    with statements(store) as seen:
        assert set((await store.hold(ANN, instead_of=held.instead_of)).claims) == {"mail"}
    asked = [text for text in seen if "replicas" in text or "claims" in text]
    assert len(asked) == 4, "\n".join(asked)


async def test_rollouts_with_the_same_plan_share_it(store: SqlStore) -> None:
    for name in ("ro_01", "ro_02"):
        await store.add(rollout(name), plan(), transition(1, name))
    one, other = [await store.case(name) for name in ("ro_01", "ro_02")]
    assert one.plan == plan()
    assert one.plan is other.plan


def test_what_is_due_is_asked_by_a_statement_that_was_made_before() -> None:
    key = frozenset({"now", "limit", "owner"})
    assert actions._due(Lane.BACK, ("R1",), key) is actions._due(Lane.BACK, ("R1",), key)
    assert actions._due(Lane.BACK, ("R1",), key) is not actions._due(Lane.BACK, ("R2",), key)
