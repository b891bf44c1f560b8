"""Three regions in one process that outlives every controller: `python -m tests.faults.target DIRECTORY`.

It takes the orders of the deployer `webhook`, keeps what runs in memory, and writes a line to `journal.jsonl`
for each order: key, generation, time, whose signature it had, and what became of it. R3 knows keys again and
fences, R1 knows keys again, R2 does neither: it takes the state that it is told. `GET /stats` is what users
see: a version with "bad" in its name fails half of its requests, or only in the region it names (bad-R1).
"""

import asyncio
import base64
import hashlib
import hmac
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from rollout.clock import SystemClock

WALL = SystemClock()
KNOWS_KEYS = frozenset({"R3", "R1"})
FENCES = frozenset({"R3"})
REGIONS = ("R3", "R1", "R2")
INSTANCES = 4
PER_SECOND = 500  # requests of the users of one region
FIRST = "1.0.0"
MOVES = frozenset({"deploy", "restore"})
READS = frozenset({"verify", "collect"})

Answer = tuple[int, dict[str, Any]]


@dataclass
class Place:
    """One service in one region."""

    running: dict[str, int] = field(default_factory=lambda: {FIRST: 100})  # version → percent
    generation: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        found = {version: round(share * INSTANCES / 100) for version, share in self.running.items()}
        return {version: count for version, count in found.items() if count}


class Regions:
    """What runs where, and the journal."""

    def __init__(self, directory: Path) -> None:
        settings = json.loads((directory / "target.json").read_text("utf-8"))
        self.secrets: Mapping[str, str] = settings["secrets"]  # whose → secret
        self.takes_s: float = settings["takes_s"]
        self.places: dict[tuple[str, str], Place] = {}
        self.journal = (directory / "journal.jsonl").open("a", encoding="utf-8", buffering=1)

    def place(self, region: str, service: str) -> Place:
        return self.places.setdefault((region, service), Place())

    def whose(self, headers: Mapping[str, str], body: bytes) -> str | None:
        """The replica that signed this."""
        text = f"{headers.get('webhook-id')}.{headers.get('webhook-timestamp')}.".encode() + body
        for name, secret in self.secrets.items():
            digest = hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), text, hashlib.sha256)
            if f"v1,{base64.b64encode(digest).decode()}" in headers.get("webhook-signature", "").split():
                return name
        return None

    async def take(self, order: dict[str, Any], who: str) -> Answer:
        """Do one order: what it changes is changed when it has taken its time."""
        kind, key = order["action"], order["action_id"]
        place = self.place(order["region"], order["service"])
        if kind in READS:
            if not key.startswith(("reading/", "doubt/")):
                self.write(order, who, "read")
            return 200, self.told(place, order)
        began = WALL.now().timestamp()
        await asyncio.sleep(self.takes_s)
        if order["region"] in KNOWS_KEYS and key in place.answers:
            self.write(order, who, "again", began)
            return place.answers[key]
        if kind in MOVES and order["region"] in FENCES and order["generation"] < place.generation:
            self.write(order, who, "refused", began)
            seen = f"generation {order['generation']} is older than {place.generation}"
            return 409, {"status": "failed", "message": seen}
        self.change(place, order, who, began)
        answer = 200, self.told(place, order)
        if order["region"] in KNOWS_KEYS:
            place.answers[key] = answer
        return answer

    def change(self, place: Place, order: dict[str, Any], who: str, began: float) -> None:
        before = dict(place.running)
        if order["action"] in MOVES:
            place.generation = max(place.generation, order["generation"])
            rest = {order["from_version"] or FIRST: 100 - order["weight"]} if order["weight"] < 100 else {}
            place.running = {**rest, order["version"]: order["weight"]}
        self.write(order, who, "effect" if before != place.running else "same", began)

    def told(self, place: Place, order: dict[str, Any]) -> dict[str, Any]:
        return {
            "status": "succeeded",
            "running": place.counts(),
            "weight": place.running.get(order["version"] or FIRST, 0),
            "details": {"generation": place.generation} if order["action"] == "verify" else {},
        }

    def write(self, order: dict[str, Any], who: str, became: str, began: float | None = None) -> None:
        """One line, which the end of this process does not lose."""
        line = {
            "at": WALL.now().timestamp(),
            "began": began or WALL.now().timestamp(),
            "who": who,
            "became": became,
            "order": order,
        }
        self.journal.write(json.dumps(line) + "\n")

    def stats(self, asked: Mapping[str, list[str]]) -> dict[str, Any]:
        """What users saw between two times."""
        region, place = asked["region"][0], self.place(asked["region"][0], asked["service"][0])
        lasted = max(0.0, float(asked["to"][0]) - float(asked["from"][0]))
        rows = []
        for version, share in place.running.items():
            total = round(PER_SECOND * lasted * share / 100)
            bad = version.endswith(("bad", f"bad-{region}"))
            rows.append({"build": version, "requests": total, "failed": total // 2 if bad else total // 500})
        return {"rows": rows}

    def standing(self) -> list[dict[str, Any]]:
        return [
            {"region": region, "service": service, "running": place.running, "generation": place.generation}
            for (region, service), place in self.places.items()
        ]


async def answer(regions: Regions, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
    """One request."""
    parts = urlsplit(path)
    if method == "GET":
        found = (
            regions.stats(parse_qs(parts.query)) if parts.path == "/stats" else {"places": regions.standing()}
        )
        return 200, found
    who = regions.whose(headers, body)
    if who is None:
        return 401, {"status": "failed", "message": "nobody known signed this"}
    return await regions.take(json.loads(body), who)


async def serve(regions: Regions, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request on each connection; whoever hangs up does not stop what was begun."""
    try:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        method, path, _ = first.split(" ")
        code, content = await answer(regions, method, path, headers, body)
        written = json.dumps(content).encode()
        head = f"HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {len(written)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + written)
        await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main(directory: Path) -> None:
    """Until standard input closes: whoever started this is gone."""
    regions = Regions(directory)
    server = await asyncio.start_server(lambda r, w: serve(regions, r, w), "127.0.0.1", 0, backlog=256)
    (directory / "target.port.new").write_text(str(server.sockets[0].getsockname()[1]))
    (directory / "target.port.new").rename(directory / "target.port")
    await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
