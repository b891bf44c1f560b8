"""Record an example of every route from a running app: `python tests/api/record_examples.py`."""

import asyncio
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from api_world import OURS, THEIRS, World, declare, open_world, touched

from api.description import EXAMPLES, described, operations
from rollout.core.model import Phase
from rollout.ports import Replica

WHY = {"reason": "Errors rose in R3."}
SENT: dict[str, Any] = {
    "POST /v1/rollouts": {"service": OURS, "version": "2.6.0", "change_url": "https://code.example/pull/7"},
    "POST /v1/rollouts/plan": {"service": OURS, "version": "2.6.0"},
    "POST /v1/rollouts/{id}/hold": {**WHY, "for": "15m", "then": "hold"},
    "POST /v1/rollouts/{id}/promote": {"reason": "The fix is urgent.", "region": "R3"},
    "POST /v1/rollouts/{id}/decisions": {"decision": "approve", "reason": "The canary looks good."},
    "POST /v1/approvals/{id}/decisions": {"decision": "approve", "reason": "The canary looks good."},
    "POST /v1/rollouts/{id}/notes": {"text": "The load test is running until 10:00."},
    "PUT /v1/rollouts/{id}/gates/{name}": {"status": "passed", "url": "https://ci.example/runs/7"},
    "PUT /v1/services/{name}": {"policy": "standard", "owners": ["ann"]},
    "POST /v1/services/{name}/adopt": {"reason": "It has run for a month.", "regions": ["R3"]},
    "POST /v1/policies/validate": {"text": (EXAMPLES.parents[1] / "policies/standard.yaml").read_text()},
    "POST /v1/tokens": {"name": "ci", "role": "deployer", "services": [OURS], "days": 30},
}
SECRET = "rot_shown-once"
STAGED = {
    "POST /v1/rollouts/{id}/promote": "ro_BAKES",
    "POST /v1/rollouts/{id}/resume": "ro_HELD",
    "POST /v1/rollouts/{id}/cancel": "ro_QUEUED",
    "POST /v1/rollouts/{id}/retry": "ro_ENDED",
    "POST /v1/rollouts/{id}/approve": "ro_WAITS1",
    "POST /v1/rollouts/{id}/decisions": "ro_WAITS2",
    "POST /v1/rollouts/{id}/reject": "ro_WAITS3",
}


async def record() -> dict[str, Any]:
    """What was sent and answered, by route; routes that are answered with something else are left out."""
    with tempfile.TemporaryDirectory() as directory:
        world, store = open_world(Path(directory))
        await _stage(world)
        found = {}
        async with await world.client("admin", "root") as client:
            for method, path, operation in operations(described(world.app)):
                if example := await _one(client, f"{method.upper()} {path}", operation):
                    found[f"{method.upper()} {path}"] = example
        store.close()
    gate = "PUT /v1/rollouts/{id}/gates/{name}"  # no shipped policy has one; acts are answered alike
    found[gate] = {**found["POST /v1/rollouts/{id}/notes"], "sent": SENT[gate]}
    return found


async def _stage(world: World) -> None:
    await declare(world)
    await world.put_running({"R3": {"2.4.1": 4}, "R1": {"2.4.1": 4}, "R2": {"2.4.1": 4}})
    await world.put("ro_ONE", phase=Phase.PROGRESSING, regions=touched())
    await world.put_running({"R3": {"1.9.0": 2}}, THEIRS)
    replica = Replica(id="rep_01KJQ6QPSGHY3PNX", incarnation="1", about="process 7 on a")
    await world.store.hold(replica, instead_of=None)
    bakes, *later = touched()
    await world.put("ro_BAKES", phase=Phase.PROGRESSING, stage=0, regions=(replace(bakes, step=1), *later))
    await world.put("ro_HELD", phase=Phase.HELD)
    await world.put("ro_QUEUED")
    await world.put("ro_ENDED", phase=Phase.CANCELED)
    for number in range(5):
        await world.put_awaiting(f"ro_WAITS{number}")


async def _one(client: httpx.AsyncClient, route: str, operation: dict[str, Any]) -> dict[str, Any]:
    method, path = route.split()
    names = {"name": "smoke" if "/gates/" in path else OURS, "region": "R3", "signal": "errors"}
    names |= {"name": THEIRS} if path.endswith("/adopt") else {}
    names |= {"name": "standard"} if "/policies/" in path else {}
    rollout = "ap_WAITS4-2" if "/approvals/" in path else STAGED.get(route, "ro_ONE")
    url = path.format(id=rollout, code="stale", **names)
    sent = SENT.get(route, WHY) if "requestBody" in operation else None
    headers = {"if-match": '"1"'} if "If-Match" in str(operation["parameters"]) and method == "POST" else {}
    answer = await client.request(method, url, json=sent, headers=headers)
    if not answer.is_success:
        return {}
    kind = answer.headers.get("content-type", "").partition(";")[0]
    example: dict[str, Any] = {"sent": sent} if sent else {}
    if kind == "application/json" and path != "/openapi.json" and not path.startswith("/schemas"):
        found = answer.json()
        if "secret" in found:
            found["secret"] = SECRET
        example |= {"status": answer.status_code, "type": kind, "answer": _short(found)}
    elif kind.startswith("text/"):
        example |= {"status": answer.status_code, "type": kind, "answer": answer.text[:400]}
    return example


def _short(found: Any) -> Any:
    """Two entries of a list are enough to see what it is."""
    if isinstance(found, dict) and isinstance(found.get("items"), list):
        return {**found, "items": found["items"][:1]}
    return found


def main() -> None:
    EXAMPLES.write_text("{}")
    found = asyncio.run(record())
    EXAMPLES.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
