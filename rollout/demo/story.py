"""`rollout demo`: a good release travels R3 → R1 → R2, a bad one comes back by itself, told as it happens.

The exit code is 0 only when everything that is told is true (account.py says what was not).
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from rollout import http as web
from rollout.demo import account
from rollout.demo.narrator import Narrator
from rollout.demo.world import FIRST, INSTANCES, REGIONS, SERVICE, World, ready

GOOD, BAD = "1.1.0", "1.2.0"
LOOK_S = 0.3
PATIENCE_S = 120.0  # for any single thing to happen
HISTORY_S = 8.0  # of ordinary life before the first release, so that the judge knows what is normal
DEFAULT_PORT = 8080


class DemoFailed(Exception):
    """Something did not happen in time; the text says what."""


class Story:
    """Plays the demo against the controller's own API, as a pipeline would."""

    def __init__(self, world: World, tell: Narrator) -> None:
        self.world, self.tell = world, tell
        self._seen = 0
        self._http: httpx.AsyncClient

    async def play(self) -> account.Account:
        """Play everything; what is true of it is in the account. Raises DemoFailed."""
        async with web.client() as self._http:
            await self._prepare()
            good = await self._release(GOOD, "a good release")
            await self._calm(good)
            bad = await self._release(BAD, "incident A: link tracking with a signing key that expires")
            bad = await self._recovered(bad)
            return await self._take_stock(good["id"], bad["id"])

    # ------------------------------------------------------------------ chapters

    async def _prepare(self) -> None:
        tell, world = self.tell, self.world
        tell.chapter(f"Three regions, {INSTANCES} processes each, on {FIRST}; one controller")
        world.start_regions()
        await self._until("the supervisors are up", lambda: world.install(FIRST))
        world.start_controller()
        await self._until("every region is healthy", self._regions_healthy)
        world.start_load()
        await self._until("the controller is ready", self._ready)
        self._http.headers["Authorization"] = f"Bearer {world.token_file.read_text().strip()}"
        await self._call("PUT", f"/v1/services/{SERVICE}", {"policy": "demo", "owners": ["you"]})
        await self._until("every region was read back", self._read_back)
        await self._call("POST", f"/v1/services/{SERVICE}/adopt", {"reason": "it has served well"})
        tell.line(f"What runs, {FIRST}, is adopted as known good in {', '.join(REGIONS)}.")
        tell.line(f"{HISTORY_S:.0f} s of ordinary traffic, so that the judge knows what is normal.")
        await asyncio.sleep(HISTORY_S)

    async def _release(self, version: str, about: str) -> dict[str, Any]:
        self.tell.chapter(f"Release {version}: {about}")
        started = await self._call(
            "POST", "/v1/rollouts", {"service": SERVICE, "version": version, "note": about}
        )
        ended = ("succeeded", "rolled_back", "rollback_failed", "held", "canceled", "rejected")
        if version == BAD:
            await self._follow(started["id"], lambda view: self._reached(view, "R1"))
            self.world.retire_key(version)
        return await self._follow(started["id"], lambda view: view["phase"] in ended)

    @staticmethod
    def _reached(view: dict[str, Any], region: str) -> bool:
        touched = {r["region"] for r in account.Account.regions(view) if r["touched_at"]}
        return region in touched or view["phase"] not in ("queued", "preflight", "progressing")

    async def _calm(self, view: dict[str, Any]) -> None:
        """Wait until the watch is over and the holdback has followed."""
        if view["phase"] != "succeeded":
            return
        await self._follow(view["id"], lambda v: all(o["state"] != "open" for o in v["obligations"]))
        await self._until(f"every region runs only {GOOD}", lambda: self._runs_only(GOOD))

    async def _recovered(self, view: dict[str, Any]) -> dict[str, Any]:
        if view["phase"] != "rolled_back":
            return view
        return await self._follow(
            view["id"], lambda v: all(o["state"] not in ("open", "overdue") for o in v["obligations"])
        )

    async def _take_stock(self, good: str, bad: str) -> account.Account:
        """Stop the users, let the queues run dry, and count."""
        self.world.end("users")
        await self._until("every queue is empty", self._drained)
        return account.Account(
            good=await self._call("GET", f"/v1/rollouts/{good}"),
            bad=await self._call("GET", f"/v1/rollouts/{bad}"),
            running=await self._call("GET", f"/v1/services/{SERVICE}/regions"),
            events=(await self._call("GET", f"/v1/rollouts/{bad}/events?limit=500"))["items"],
            exits=self.world.exits(),
            totals={name: await self.world.totals(name) for name in REGIONS},
            sent=self.world.sent(),
        )

    # ------------------------------------------------------------------ waiting

    async def _follow(self, rollout_id: str, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Tell every event until `done`; the view then."""
        waited = 0.0
        while True:
            events = await self._call("GET", f"/v1/events?after={self._seen}&limit=100")
            for event in events["items"]:
                self._seen = event["sequence"]
                self.tell.event(event)
                waited = 0.0
            view: dict[str, Any] = await self._call("GET", f"/v1/rollouts/{rollout_id}")
            self.tell.show(view)
            if done(view):
                return view
            waited += LOOK_S
            self._check_alive(waited, f"the next step of {rollout_id} ({view['phase']}: {view['sentence']})")
            await asyncio.sleep(LOOK_S)

    async def _until(self, what: str, done: Callable[[], Any]) -> None:
        waited = 0.0
        while not await done():
            waited += LOOK_S
            self._check_alive(waited, what)
            await asyncio.sleep(LOOK_S)

    def _check_alive(self, waited: float, what: str) -> None:
        if dead := self.world.dead():
            raise DemoFailed("; ".join(dead))
        if waited > PATIENCE_S:
            raise DemoFailed(f"waited {PATIENCE_S:.0f} s for: {what}; see {self.world.directory}")

    async def _ready(self) -> bool:
        """Ours, not whatever else may answer on that port: it has written its first token."""
        return self.world.token_file.exists() and await ready(self.world.url, self._http)

    async def _regions_healthy(self) -> bool:
        statuses = self.world.statuses()
        return len(statuses) == len(REGIONS) and all(s.converged for s in statuses.values())

    async def _read_back(self) -> bool:
        return await self._runs_only(FIRST)

    async def _runs_only(self, version: str) -> bool:
        rows = await self._call("GET", f"/v1/services/{SERVICE}/regions")
        return all(row["running"] == {version: INSTANCES} for row in rows["items"])

    async def _drained(self) -> bool:
        totals = [await self.world.totals(name) for name in REGIONS]
        return all(one.unfinished == 0 for one in totals)

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = await self._http.request(method, self.world.url + path, json=body)
        if answer.is_error:
            raise DemoFailed(f"{method} {path}: {answer.status_code} {answer.json().get('detail', '')}")
        return answer.json()


def main(*, directory: Path = Path("var/demo"), keep: bool = False, plain: bool = False) -> int:
    """Play the demo; 0 when all that it told is true."""
    with Narrator(plain=plain) as tell, World(directory.absolute(), DEFAULT_PORT) as world:
        try:
            told = asyncio.run(Story(world, tell).play())
        except KeyboardInterrupt:
            tell.line("Stopped; every process that was started is ended.")
            return 130
        except (DemoFailed, httpx.HTTPError) as error:
            tell.failed(str(error))
            return 1
        tell.summary(told)
        if keep:
            _keep(world, tell)
        return 0 if told.true else 1


def _keep(world: World, tell: Narrator) -> None:
    world.start_load()
    tell.kept(world.url, world.token_file)
    try:
        asyncio.run(_forever())
    except KeyboardInterrupt:
        tell.line("Stopped; every process that was started is ended.")


async def _forever() -> None:
    await asyncio.Event().wait()
