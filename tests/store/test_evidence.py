"""Evidence that has just been begun is kept once, by whoever holds the service."""

from dataclasses import replace

import pytest

from rollout.core.errors import Fenced
from rollout.ports import Change, Fence, Replica
from rollout.store import SqlStore
from tests.store.builders import SERVICE, evidence, plan, rollout, service, transition


async def test_what_was_begun_is_there_and_gone_on_with(store: SqlStore) -> None:
    await store.add(rollout(), plan(), transition(1))
    await store.begin_evidence("ro_01", evidence(seen=0))
    found = await store.case("ro_01")
    assert found.evidence == {"R3": evidence(seen=0)}
    assert found.rollout.version == 0, "no decision was made"
    await store.commit(Change(rollout=found.rollout, evidence={"R3": evidence(seen=7)}))
    await store.begin_evidence("ro_01", evidence(seen=0))
    assert (await store.case("ro_01")).evidence["R3"].seen == 7, "begun again by a controller that was late"


async def test_evidence_of_another_release_of_this_program_is_begun_anew(store: SqlStore) -> None:
    await store.add(rollout(), plan(), transition(1))
    await store.begin_evidence("ro_01", replace(evidence(seen=3), checks={"errors": {"form": "old"}}))
    assert (await store.case("ro_01")).evidence == {}
    await store.begin_evidence("ro_01", evidence(seen=0))
    assert (await store.case("ro_01")).evidence == {"R3": evidence(seen=0)}


async def test_who_does_not_hold_the_service_any_more_begins_nothing(store: SqlStore) -> None:
    await store.put_service(service())
    await store.add(rollout(), plan(), transition(1))
    held = await store.hold(Replica(id="ann", incarnation="ann-1"), instead_of=None)
    old = Fence(service=SERVICE, owner="ann", epoch=held.claims[SERVICE] - 1)
    with pytest.raises(Fenced):
        await store.begin_evidence("ro_01", evidence(), old)
    assert (await store.case("ro_01")).evidence == {}
    await store.begin_evidence("ro_01", evidence(), replace(old, epoch=held.claims[SERVICE]))
    assert set((await store.case("ro_01")).evidence) == {"R3"}
