"""The report over HTTP: as JSON, as Markdown, by suffix and by Accept."""

import httpx
import pytest
from api_world import THEIRS, World

from rollout.core.model import Phase

PLACE = "/v1/rollouts/ro_WAITS/report"


@pytest.fixture(autouse=True)
async def _waiting(world: World) -> None:
    await world.put_awaiting()


@pytest.mark.parametrize(
    ("path", "accept", "media"),
    [
        (PLACE, "*/*", "application/json"),
        (PLACE, "application/json", "application/json"),
        (PLACE, "text/markdown", "text/markdown; charset=utf-8"),
        (PLACE, "application/json;q=0.5, text/markdown", "text/markdown; charset=utf-8"),
        (PLACE, "text/markdown;q=0.1, application/json", "application/json"),
        (f"{PLACE}.json", "text/markdown", "application/json"),
        (f"{PLACE}.md", "application/json", "text/markdown; charset=utf-8"),
    ],
)
async def test_the_form_is_by_suffix_or_by_accept(
    admin: httpx.AsyncClient, path: str, accept: str, media: str
) -> None:
    answer = await admin.get(path, headers={"accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, media)


async def test_the_report_holds_state_reach_and_every_event(admin: httpx.AsyncClient) -> None:
    found = (await admin.get(PLACE)).json()
    assert (found["phase"], found["service"], found["settled"]) == ("awaiting_approval", "mail-sender", False)
    assert found["policy"] == {"name": "standard", "revision": found["policy"]["revision"]}
    assert [entry["text"] for entry in found["timeline"]] == ["ci asked for it."]
    assert found["timeline"][0]["by_person"] is True
    written = (await admin.get(f"{PLACE}.md")).text
    assert written.startswith("# mail-sender 2.5.0 ")
    assert "## Timeline" in written


async def test_an_unknown_rollout_and_a_foreign_one_are_answered_alike(world: World) -> None:
    await world.put("ro_THEIRS", THEIRS, phase=Phase.QUEUED)
    async with await world.client("viewer", services=["mail-sender"]) as client:
        for name in ("ro_THEIRS", "ro_NONE"):
            for suffix in ("", ".md", ".json"):
                answer = await client.get(f"/v1/rollouts/{name}/report{suffix}")
                assert (answer.status_code, answer.headers["content-type"]) == (
                    404,
                    "application/problem+json",
                )
