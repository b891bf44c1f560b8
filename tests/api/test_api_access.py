"""Names of tokens, and the first admin."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from api_world import World

from rollout.access import Access
from rollout.core.errors import Conflict, InvalidInput, StoreError


async def test_a_name_that_is_taken_is_a_409_that_names_the_token(
    world: World, admin: httpx.AsyncClient
) -> None:
    ann, _ = await world.token("deployer", "ann")
    answer = await admin.post("/v1/tokens", json={"name": "ann", "role": "approver"})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/name-taken")
    assert ann.id in answer.json()["detail"]
    assert (await admin.delete(f"/v1/tokens/{ann.id}")).status_code == 204
    assert (await admin.post("/v1/tokens", json={"name": "ann", "role": "approver"})).status_code == 201


async def test_an_expired_token_leaves_its_name_to_another(world: World) -> None:
    await world.token("viewer", "ann", days=1)
    with pytest.raises(Conflict, match="'ann' is taken"):
        await world.token("viewer", "ann")
    world.clock.advance(86_400)
    renewed, _ = await world.token("viewer", "ann")
    assert renewed.name == "ann"


@pytest.mark.parametrize("name", ["controller", "", "ann ", " ann", "ann\n", "änn", "a" * 65])
async def test_no_token_has_the_controllers_name_or_one_that_only_looks_like_another(
    world: World, name: str
) -> None:
    with pytest.raises(InvalidInput, match="cannot be named"):
        await world.controller.access.create_token(name, "approver")
    assert await world.store.tokens() == ()


class Crashing:
    """A store in whose way a crash comes just before a token is written."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def add_token(self, *_: object) -> None:
        raise StoreError("The disk is full.")


async def test_a_crash_before_the_first_token_is_stored_locks_nobody_out(
    world: World, tmp_path: Path
) -> None:
    file = tmp_path / "admin-token"
    with pytest.raises(StoreError):
        await Access(Crashing(world.store), world.clock).first_admin(file)
    lost = file.read_text(encoding="utf-8")
    assert await world.store.tokens() == ()
    assert await world.controller.access.first_admin(file)
    secret = file.read_text(encoding="utf-8")
    assert secret != lost
    assert (await world.controller.access.authenticate(secret.strip())).role == "admin"


async def test_the_secret_is_in_the_file_before_its_token_is_valid(world: World, tmp_path: Path) -> None:
    file = tmp_path / "admin-token"
    file.write_text(
        "from an older start, and longer than any secret of ours could ever be, so it shows\n" * 2
    )
    file.chmod(0o644)
    with pytest.raises(StoreError):
        await Access(Crashing(world.store), world.clock).first_admin(file)
    written = file.read_text(encoding="utf-8")
    assert (written.startswith("rot_"), written.count("\n"), file.stat().st_mode & 0o777) == (True, 1, 0o600)


async def test_the_first_admin_is_made_once(world: World, tmp_path: Path) -> None:
    file = tmp_path / "admin-token"
    assert await world.controller.access.first_admin(file)
    secret = file.read_text(encoding="utf-8")
    assert not await world.controller.access.first_admin(file)
    assert file.read_text(encoding="utf-8") == secret
    assert [token.name for token in await world.store.tokens()] == ["first-admin"]
