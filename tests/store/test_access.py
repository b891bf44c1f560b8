import os
from dataclasses import replace
from pathlib import Path

import pytest

from rollout.core.errors import Conflict, NotFound
from rollout.store import SqlStore, inline, open_store
from tests.store.builders import at, token
from tests.store.places import only


async def test_a_token_is_found_by_the_hash_of_its_secret(store: SqlStore) -> None:
    wanted = token(services=("mail-sender",), expires_at=at(99))
    await store.add_token(wanted, "hash-1")
    assert await store.token("hash-1") == wanted
    assert await store.token("to_1") is None


async def test_neither_an_id_nor_a_secret_is_stored_twice(store: SqlStore) -> None:
    await store.add_token(token(), "hash-1")
    for other, secret in ((token(), "hash-2"), (token("to_2"), "hash-1")):
        with pytest.raises(Conflict, match="already a token") as refused:
            await store.add_token(other, secret)
        assert "hash-" not in str(refused.value)


async def test_two_valid_tokens_never_have_one_name(store: SqlStore) -> None:
    await store.add_token(token(expires_at=at(90)), "hash-1")
    with pytest.raises(Conflict, match=r"'ci' is taken by the token to_1 \(deployer, valid until") as refused:
        await store.add_token(token("to_2", created_at=at(89)), "hash-2")
    assert refused.value.code == "name-taken"
    assert [found.id for found in await store.tokens()] == ["to_1"]


async def test_a_name_in_other_letters_is_the_same_person(store: SqlStore) -> None:
    await store.add_token(token(name="dana"), "hash-1")
    with pytest.raises(Conflict, match="'dana' is taken by the token to_1"):
        await store.add_token(token("to_2", name="Dana"), "hash-2")


async def test_a_name_is_free_again_once_its_token_has_expired_or_was_revoked(store: SqlStore) -> None:
    await store.add_token(token(expires_at=at(90)), "hash-1")
    await store.add_token(token("to_2", created_at=at(90)), "hash-2")
    with pytest.raises(Conflict, match="to_2"):
        await store.add_token(token("to_3", created_at=at(91)), "hash-3")
    await store.revoke_token("to_2", at(92))
    await store.add_token(token("to_3", created_at=at(93)), "hash-3")
    assert [found.id for found in await store.tokens()] == ["to_1", "to_2", "to_3"]


async def test_tokens_are_listed_oldest_first(store: SqlStore) -> None:
    await store.add_token(token("to_2", name="bob", created_at=at(2)), "b")
    await store.add_token(token("to_1", name="ann", created_at=at(1)), "a")
    assert [found.id for found in await store.tokens()] == ["to_1", "to_2"]


async def test_a_revoked_token_says_when_it_was_revoked_first(store: SqlStore) -> None:
    await store.add_token(token(), "a")
    await store.revoke_token("to_1", at(5))
    await store.revoke_token("to_1", at(6))
    assert await store.token("a") == replace(token(), revoked_at=at(5))
    with pytest.raises(NotFound):
        await store.revoke_token("to_9", at(5))


async def test_a_session_leads_to_its_token_until_it_ends(store: SqlStore) -> None:
    await store.add_token(token(), "a")
    await store.add_session("s", "to_1", "csrf-1", at(10))
    assert await store.session("s", at(9)) == (token(), "csrf-1")
    assert await store.session("s", at(10)) is None
    assert await store.session("other", at(9)) is None
    await store.end_session("s")
    await store.end_session("s")
    assert await store.session("s", at(9)) is None


async def test_a_session_ends_with_its_token(store: SqlStore) -> None:
    await store.add_token(token(expires_at=at(5)), "a")
    await store.add_session("s", "to_1", "csrf-1", at(10))
    assert await store.session("s", at(4)) is not None
    assert await store.session("s", at(5)) is None
    await store.revoke_token("to_1", at(3))
    assert await store.session("s", at(4)) is None


async def test_a_session_needs_a_token(store: SqlStore) -> None:
    with pytest.raises(NotFound):
        await store.add_session("s", "to_9", "csrf-1", at(10))


@only("sqlite")
async def test_the_file_can_be_read_by_its_owner_only(url: str, tmp_path: Path) -> None:
    store = open_store(url, run=inline)
    await store.add_token(token(), "a")
    modes = {entry.name: entry.stat().st_mode & 0o777 for entry in os.scandir(tmp_path)}
    assert modes["rollout.db"] == 0o600
    assert set(modes.values()) == {0o600}
