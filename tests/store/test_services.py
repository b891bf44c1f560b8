from dataclasses import replace

import pytest

from rollout.core.errors import NotFound, StaleWrite
from rollout.ports import Change
from rollout.store import SqlStore
from tests.store.builders import at, known_good, plan, rollout, service, transition


async def test_a_service_is_declared_and_replaced_by_who_read_it(store: SqlStore) -> None:
    first = await store.put_service(service())
    assert first == service(version=1)
    second = await store.put_service(replace(first, owners=("post",), regions=("R1",)))
    assert await store.service("mail-sender") == second
    assert second.version == 2


@pytest.mark.parametrize("version", [0, 2])
async def test_a_service_that_changed_since_is_not_overwritten(store: SqlStore, version: int) -> None:
    await store.put_service(service())
    with pytest.raises(StaleWrite, match="mail-sender"):
        await store.put_service(service(version=version, policy="other"))
    assert (await store.service("mail-sender")).policy == "careful"


async def test_services_are_listed_by_name(store: SqlStore) -> None:
    for name in ("b", "a"):
        await store.put_service(service(name))
    assert [found.name for found in await store.services()] == ["a", "b"]


async def test_an_unknown_service_is_not_found(store: SqlStore) -> None:
    with pytest.raises(NotFound):
        await store.service("x")


async def test_a_stop_survives_a_declaration(store: SqlStore) -> None:
    first = await store.put_service(service())
    await store.add(rollout(), plan(), transition(1))
    await store.commit(
        Change(rollout=rollout(), transitions=(transition(2),), rolled_back=True),
    )
    declared = await store.put_service(first)
    assert (declared.stopped_by, declared.stopped_at) == ("ro_01", at(2))
    assert await store.service("mail-sender") == declared


async def test_adopting_makes_it_known_good_and_raises_the_generation(store: SqlStore) -> None:
    await store.adopt([known_good("1.0"), known_good("1.0", "R1")])
    await store.adopt([known_good("2.0")])
    found = {pair.region: pair for pair in await store.service_regions("mail-sender")}
    assert found["R3"].known_good == (known_good("2.0"), known_good("1.0"))
    assert (found["R3"].generation, found["R1"].generation) == (2, 1)


async def test_adopting_the_same_again_keeps_one_of_it(store: SqlStore) -> None:
    await store.adopt([known_good("1.0")])
    await store.adopt([known_good("1.0", since=at(9))])
    (pair,) = await store.service_regions("mail-sender")
    assert pair.known_good == (known_good("1.0", since=at(9)),)
