"""What the region agent does with an order: check who sent it, do it once, remember the answer."""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from rollout.clock import SystemClock
from rollout.core.actions import Action
from rollout.core.errors import OutsideError, PermanentError, RolloutError
from rollout.core.model import Instance, Kind
from rollout.ports import Deployer, Progress, Reply
from rollout.registry import DEPLOYERS, Surroundings, load_plugins
from rollout.supervisor import files

READS = frozenset({Kind.VERIFY, Kind.FIND_STALLED, Kind.COLLECT})  # asked anew each time
KEPT = 1000  # orders that are remembered
FIRST_AGAIN_S = 0.5


class NotSigned(Exception):
    """Nobody who knows the secret sent this, or it is too old."""


class Order(BaseModel):
    """The body of an order; docs/deployers.md says what each field means."""

    model_config = ConfigDict(frozen=True)

    action_id: str = Field(min_length=1, max_length=200)
    generation: int
    action: Kind
    service: str
    region: str
    version: str = ""
    artifact: str | None = None
    weight: int = 0
    from_version: str | None = None
    details: dict[str, Any] = Field(default_factory=dict)


class Kept(BaseModel):
    """An order as it was taken, and its answer once it has ended."""

    order: Order
    code: int = 0
    answer: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered. `order` is the key under which it is asked on."""

    code: int
    content: dict[str, Any]
    order: str = ""


class Agent:
    """Carries out orders for one region; every answer that ended something is on disk."""

    def __init__(
        self, arguments: argparse.Namespace, http: httpx.AsyncClient, command: tuple[str, ...]
    ) -> None:
        load_plugins()
        self.region: str = arguments.region
        self.port = 0
        self._service: str = arguments.service
        self._public_host: str = arguments.public_host
        self._secret_file: Path = arguments.secret_file
        self._orders = files.private(arguments.directory / "orders")
        self._status = arguments.directory / "region" / self._service / "status.json"
        around = Surroundings(
            region=self.region, http=http, clock=SystemClock(), directory=arguments.directory.resolve()
        )
        service = {
            "command": command,
            "instances": arguments.instances,
            "max_unavailable": max(1, arguments.instances // 2),
            "stalled": {},
            "environment": {
                "MAIL_KEY_LIFETIME_S": f"{arguments.key_lifetime:g}",
                "MAIL_KEY_DIRECTORY": str(arguments.directory.resolve()),
            },
        }
        written = {"directory": "region", "services": {self._service: service}}
        self._deployer: Deployer = DEPLOYERS.build("process", written, around)
        self._turns: dict[str, asyncio.Lock] = {}

    # ------------------------------------------------------------------ who asks

    def check_signature(self, body: str, headers: Mapping[str, str]) -> None:
        """Raise NotSigned unless one of the secrets signed this within the last 5 minutes."""
        try:
            secrets = self._secret_file.read_text(encoding="utf-8").split()
        except OSError as error:
            raise NotSigned(f"the agent's secret cannot be read: {error.strerror}") from error
        why = "the agent has no secret"
        for secret in secrets:
            try:
                Webhook(secret).verify(body, dict(headers), json_parse=False)
            except (WebhookVerificationError, ValueError) as error:
                why = str(error)
            else:
                return
        raise NotSigned(why)

    # ------------------------------------------------------------------ orders

    async def take(self, body: str) -> Answer:
        """Do an order, or say what became of it."""
        try:
            order = Order.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "the body"
            return Answer(422, {"status": "failed", "message": f"{place}: {first['msg']}"})
        if order.region != self.region:
            return Answer(422, {"status": "failed", "message": f"this is {self.region}, not {order.region}"})
        return await self._once(order)

    async def progress(self, name: str) -> Answer:
        """How far an order is that was taken before."""
        kept = self._kept(unquote(name))
        if kept is None:
            return Answer(404, {"status": "failed", "message": "no such order was taken"})
        return await self._once(kept.order)

    async def _once(self, order: Order) -> Answer:
        """Answer from memory what has ended; do the rest, one attempt at a time for each key."""
        async with self._turns.setdefault(order.action_id, asyncio.Lock()):
            kept = self._kept(order.action_id)
            if kept is not None and kept.code and order.action not in READS:
                return Answer(kept.code, kept.answer)
            answer = await self._attempt(order)
            if order.action not in READS and answer.code != 503:
                over = answer.code != 202
                self._keep(Kept(order=order, code=answer.code if over else 0, answer=answer.content))
        if answer.code != 202:
            self._turns.pop(order.action_id, None)
        return answer

    async def _attempt(self, order: Order) -> Answer:
        action = Action(
            kind=order.action,
            region=order.region,
            service=order.service,
            version=order.version,
            artifact=order.artifact,
            weight=order.weight,
            from_version=order.from_version,
            generation=order.generation,
            details=order.details,
        )
        try:
            reply = await self._deployer.apply(order.action_id, action)
            instances = await self._deployer.instances(order.service) if order.action is Kind.VERIFY else ()
        except PermanentError as error:
            return Answer(409, {"status": "failed", "message": str(error)})
        except OutsideError as error:
            return Answer(503, {"status": "running", "message": str(error)})
        if reply.progress is Progress.RUNNING:
            content = {"status": "running", "message": reply.result.message}
            return Answer(202, content, "" if order.action in READS else order.action_id)
        return Answer(200, self._told(order, reply, instances))

    def _told(self, order: Order, reply: Reply, instances: tuple[Instance, ...]) -> dict[str, Any]:
        details = dict(reply.result.details)
        told: dict[str, Any] = {
            "action_id": order.action_id,
            "status": reply.progress.value,
            "message": reply.result.message,
            "running": dict(reply.result.running),
            "details": details,
        }
        if order.action is Kind.VERIFY:
            details["generation"] = self._generation()
            told["instances"] = [self._listed(one) for one in instances]
        elif order.action not in (Kind.DEPLOY, Kind.RESTORE):
            del told["running"]
        return told

    def _listed(self, one: Instance) -> dict[str, Any]:
        return {
            "id": one.id,
            "version": one.version,
            "url": f"http://{self._public_host}:{self.port}/instances/{one.id}",
            "started_at": one.started_at.isoformat(),
            "healthy": one.healthy,
            "restarts": one.restarts,
        }

    def _generation(self) -> int:
        """The highest generation that was ordered here."""
        with contextlib.suppress(OSError, ValueError):
            desired = files.read(self._status.with_name("desired.json"), files.Desired)
            return desired.generation if desired else 0
        return 0

    # ------------------------------------------------------------------ instances

    def healthy(self, slot: str | None = None) -> list[str]:
        """Where the healthy instances answer on this machine; that of one slot whatever its health."""
        with contextlib.suppress(OSError, ValueError):
            status = files.read(self._status, files.Status)
            found = status.instances if status else ()
            return [one.url for one in found if one.url and (one.slot == slot if slot else one.healthy)]
        return []

    async def install(self, version: str) -> None:
        """Let `version` run where nothing was ever ordered; wait for the supervisor to come up."""
        first = Action(kind=Kind.RESTORE, region=self.region, service=self._service, version=version)
        while version:
            try:
                running = await self._deployer.instances(self._service)
                if running and not self._ordered_first():
                    return
                if (
                    await self._deployer.apply(f"install/{self.region}", first)
                ).progress is not Progress.RUNNING:
                    return
            except RolloutError as error:
                sys.stderr.write(f"{version} is not installed yet: {error}\n")
            await asyncio.sleep(FIRST_AGAIN_S)

    def _ordered_first(self) -> bool:
        """Whether the newest order is the installation."""
        desired = files.read(self._status.with_name("desired.json"), files.Desired)
        return desired is not None and desired.key == f"install/{self.region}"

    # ------------------------------------------------------------------ memory

    def _kept(self, key: str) -> Kept | None:
        with contextlib.suppress(ValueError):  # a damaged file is as none: the deployer knows the key too
            return files.read(self._orders / f"{quote(key, safe='')}.json", Kept)
        return None

    def _keep(self, kept: Kept) -> None:
        files.write(self._orders / f"{quote(kept.order.action_id, safe='')}.json", kept)
        orders = sorted(self._orders.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for old in orders[:-KEPT]:
            old.unlink(missing_ok=True)
