"""A real target of the deployer `webhook` on loopback: it wraps the fake deployer, and misbehaves as told."""

import asyncio
import base64
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import loopback
from loopback import Request, request_of
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from rollout.clock import SystemClock
from rollout.core.actions import Action
from rollout.core.errors import PermanentError, TransientError
from rollout.core.model import Kind
from rollout.deployers.webhook import WebhookDeployer
from rollout.ports import Progress, Reply
from rollout.registry import DEPLOYERS, Surroundings
from rollout.testing import FakeDeployer

SECRET = "whsec_" + base64.b64encode(b"a secret of the tests, 32 bytes!").decode()
OTHER = "whsec_" + base64.b64encode(b"the next secret of those tests!!").decode()
ALL = [kind.value for kind in Kind if kind is not Kind.NOTIFY]
CODES = {PermanentError: 409, TransientError: 503}


@dataclass
class Target:
    """Answers orders by a fake deployer. Each entry of `faults` is spent on one order that is no reading:

    lose (act, then close), hang (act, then never answer), deaf (never answer, nor act), twice (two answers),
    half (act, then half an answer), or bytes, which are sent as they are instead of acting.
    `later`: 202 and a Location, which gives the answer `later` polls on.
    """

    fake: FakeDeployer
    secret: str = SECRET
    faults: deque[str | bytes] = field(default_factory=deque)
    readings: deque[bytes] = field(default_factory=deque)
    later: int = 0
    states_weight: bool = False
    url: str = ""
    asked: list[Request] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _under_way: dict[str, tuple[int, Request]] = field(default_factory=dict)
    _weight: float | None = None

    def orders(self, method: str = "POST") -> list[Request]:
        """What was asked, without readings."""
        return [r for r in self.asked if r.method == method and '"action": "verify"' not in r.body]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer on one connection as long as the other side keeps it."""
        closing, broken = contextlib.closing(writer), (ConnectionError, asyncio.IncompleteReadError)
        with closing, contextlib.suppress(*broken):
            keep = True
            while keep:
                request = await request_of(reader)
                said = await self._one(request)
                writer.write(said)
                await writer.drain()
                keep = bool(said) and request.headers.get("connection") != "close"

    async def _one(self, request: Request) -> bytes:
        self.asked.append(request)
        try:
            Webhook(self.secret).verify(request.body, request.headers, json_parse=False)
        except WebhookVerificationError as error:
            self.refused.append(str(error))
            return answer_bytes(401, {"message": "the signature is not ours"})
        if request.method == "GET":
            return await self._poll(request)
        if request.order["action"] == "verify":
            return self.readings.popleft() if self.readings else await self._act(request.order)
        return await self._misbehave(request, self.faults.popleft() if self.faults else "")

    async def _misbehave(self, request: Request, fault: str | bytes) -> bytes:
        if isinstance(fault, bytes):
            return fault
        if fault == "deaf":
            await asyncio.Event().wait()
        if self.later:
            key = request.headers["idempotency-key"]
            self._under_way.setdefault(key, (self.later, request))
            return answer_bytes(202, {"status": "running"}, location=f"/orders?key={key}")
        said = await self._act(request.order)
        if fault == "hang":
            await asyncio.Event().wait()
        second = answer_bytes(200, {"status": "failed", "message": "the second answer"})
        return {"half": said[:-20], "twice": said + second, "lose": b""}.get(fault, said)

    async def _poll(self, request: Request) -> bytes:
        key = request.path.partition("=")[2]
        if key not in self._under_way:
            return answer_bytes(404, {"message": "no such order"})
        left, order = self._under_way[key]
        self._under_way[key] = (left - 1, order)
        if left > 0:
            return answer_bytes(202, {"status": "running", "message": "still moving"})
        return await self._act(order.order)

    def forget(self) -> None:
        """Lose what is under way, as a restart of the target does."""
        self._under_way.clear()

    async def _act(self, order: dict[str, Any]) -> bytes:
        try:
            return answer_bytes(200, await self.do(order))
        except (PermanentError, TransientError) as error:
            return answer_bytes(CODES[type(error)], {"status": "failed", "message": str(error)})

    async def do(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out an order by the fake. Raises what the fake raises."""
        names = (
            "region",
            "service",
            "version",
            "artifact",
            "weight",
            "from_version",
            "generation",
            "details",
        )
        action = Action(kind=Kind(order["action"]), **{name: order[name] for name in names})
        reply = await self.fake.apply(order["action_id"], action)
        if action.kind in (Kind.DEPLOY, Kind.RESTORE):
            self._weight = action.weight if action.kind is Kind.DEPLOY else 100
        return await self._told(reply, action)

    async def _told(self, reply: Reply, action: Action) -> dict[str, Any]:
        told: dict[str, Any] = {
            "status": reply.progress.value,
            "message": reply.result.message,
            "details": dict(reply.result.details),
        }
        if reply.progress is Progress.SUCCEEDED and action.kind is Kind.VERIFY:
            listed = await self.fake.instances(action.service)
            told["instances"] = [
                {
                    "id": one.id,
                    "version": one.version,
                    "url": one.url,
                    "started_at": one.started_at.isoformat(),
                    "healthy": one.healthy,
                    "restarts": one.restarts,
                }
                for one in listed
            ]
            told["details"]["generation"] = action.generation
            if self.states_weight:
                told["weight"] = self._weight
        return told


def answer_bytes(code: int, content: Any = b"", *, location: str = "", **headers: str) -> bytes:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    lines = [f"HTTP/1.1 {code} X", f"Content-Length: {len(body)}"]
    lines += [f"Location: {location}"] if location else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def listening(target: Target) -> AsyncIterator[Target]:
    """The target on a port of its own."""
    async with loopback.listening(target.serve) as target.url:
        yield target


def webhook_deployer(
    target: Target, http: httpx.AsyncClient, directory: Path, **options: Any
) -> WebhookDeployer:
    """The deployer of region R3 for a target; keywords change its options."""
    (directory / "secret").write_text(SECRET)
    written = {"url": target.url + "/{region}/{service}", "secret_file": "secret", "supports": ALL} | options
    around = Surroundings(region="R3", http=http, clock=SystemClock(), directory=directory)
    made = DEPLOYERS.build("webhook", written, around)
    assert isinstance(made, WebhookDeployer)
    return made
