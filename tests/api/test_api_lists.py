"""Pages: every list is cut by `limit`, goes on by `cursor`, and says so in `Link`."""

import httpx
import pytest
from api_world import OURS, World, touched
from test_api_problems import assert_problem

from rollout.core.model import Phase
from rollout.ports import Replica

LISTS = [
    "/v1/services",
    "/v1/policies",
    "/v1/tokens",
    "/v1/regions",
    "/v1/replicas",
    f"/v1/services/{OURS}/regions",
    "/v1/rollouts",
    "/v1/rollouts/ro_ONE/stages",
    "/v1/rollouts/ro_ONE/checks",
    "/v1/events",
    "/v1/rollouts/ro_ONE/events",
    "/v1/approvals",
]


async def _fill(world: World) -> None:
    """At least two entries of everything."""
    for name in ("ann", "bob"):
        await world.store.hold(Replica(id=name, incarnation=name), instead_of=None)
    await world.put("ro_ONE", phase=Phase.PROGRESSING, regions=touched())
    for number in range(2):
        await world.put_awaiting(f"ro_WAITS{number}")
        await world.token("viewer", f"viewer-{number}")


async def _pages(client: httpx.AsyncClient, path: str) -> list[object]:
    """All entries, one by one, by the header Link."""
    found: list[object] = []
    url: str | None = f"{path}?limit=1"
    while url is not None:
        answer = await client.get(url)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert len(body["items"]) <= 1
        found += body["items"]
        link = answer.links.get("next", {}).get("url")
        assert (link is None) == (body["next_cursor"] is None)
        url = str(link) if link else None
    return found


@pytest.mark.parametrize("path", LISTS)
async def test_a_list_read_page_by_page_is_the_list(
    world: World, admin: httpx.AsyncClient, path: str
) -> None:
    await _fill(world)
    whole = (await admin.get(path)).json()
    paged = await _pages(admin, path)
    if "checks" not in path and "/rollouts/ro_ONE/events" not in path:
        assert len(paged) > 1, "one entry has no pages, so this would prove nothing"
    assert paged == whole["items"]
    assert whole["next_cursor"] is None


@pytest.mark.parametrize("path", LISTS)
async def test_a_cursor_that_cannot_be_one_names_its_place(
    world: World, admin: httpx.AsyncClient, path: str
) -> None:
    await _fill(world)
    answer = await admin.get(path, params={"cursor": "no cursor\t"})
    assert assert_problem(answer, 422, "invalid-input")["errors"][0]["pointer"] == "?cursor"
    for limit in ("0", "-1", "100000", "all"):
        answer = await admin.get(path, params={"limit": limit})
        assert assert_problem(answer, 422, "invalid-input")["errors"][0]["pointer"] == "?limit"


@pytest.mark.parametrize("path", [path for path in LISTS if "events" not in path])
async def test_a_cursor_of_nothing_is_not_found(world: World, admin: httpx.AsyncClient, path: str) -> None:
    await _fill(world)
    assert_problem(await admin.get(path, params={"cursor": "nothing"}), 404, "not-found")


async def test_the_cursor_of_events_is_the_place_after_which_they_begin(
    world: World, admin: httpx.AsyncClient
) -> None:
    await _fill(world)
    for name in ("after", "cursor"):
        items = (await admin.get("/v1/events", params={name: 1})).json()["items"]
        assert [item["sequence"] for item in items] == [2, 3]
