"""Deployer `webhook`: orders go to your own deploy service as signed POSTs; what it answers is checked.

The contract is docs/deployers.md. A lost answer is asked for again under the same key, which the target must
know again; one that does not fence is also read back before it is told to deploy. A way back is always
ordered: what is read may change yet, by a deploy that is under way.
"""

import json
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from string import Formatter
from typing import Annotated, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import Field, field_validator, model_validator

from rollout.core.actions import Action
from rollout.core.errors import PermanentError, TransientError
from rollout.core.model import Instance, Kind
from rollout.deployers import answer
from rollout.deployers.answer import FirstSeen, Told
from rollout.deployers.webhook_call import Answered, AskedToWait, Gone, call
from rollout.ports import Progress, Reply
from rollout.registry import DEPLOYERS, Options, Surroundings
from rollout.sending import origin
from rollout.signing import secrets_in, signed

READING_S = 4.0  # for the answer to a reading of instances, which is one of many
BACK_WAITS_S = 5.0  # at most, before a way back is ordered from a target that asked for time
REMEMBERED = 1000  # Locations; a forgotten one is asked for again by its order
GOES_BACK = frozenset({Kind.RESTORE, Kind.COLLECT})


class WebhookOptions(Options):
    """Where orders go, what the target offers, and the secret that signs them.

    `url` may contain {service} and {region}. `fences`: the target refuses a generation lower than the highest
    it has seen. `secret_file` is relative to the data directory.
    """

    url: str
    secret_file: Path | None = None
    secret_env: str | None = None
    supports: tuple[Kind, ...] = answer.BASIC
    fences: bool = False
    timeout_s: Annotated[float, Field(ge=0.1, le=25)] = 10.0

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        names = {name for _, name, _, _ in Formatter().parse(url) if name is not None}
        if unknown := names - {"service", "region"}:
            raise ValueError(f"knows {{service}} and {{region}}, not {', '.join(sorted(unknown)) or '{}'}")
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an address that begins with http:// or https://")
        if "@" in parts.netloc:
            raise ValueError("must not hold a password; orders are signed")
        return url

    @field_validator("supports")
    @classmethod
    def _whole(cls, supports: tuple[Kind, ...]) -> tuple[Kind, ...]:
        if missing := [kind.value for kind in answer.BASIC if kind not in supports]:
            raise ValueError(f"lacks {', '.join(missing)}: no rollout is possible without")
        if Kind.NOTIFY in supports:
            raise ValueError("notify is no order for a deployer")
        return supports

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if bool(self.secret_file) == bool(self.secret_env):
            raise ValueError("needs one of secret_file and secret_env: orders are signed")
        return self


@DEPLOYERS.register("webhook", WebhookOptions)
class WebhookDeployer:
    """Gives orders over HTTP, one region's."""

    told_region = True  # `region` of each order

    def __init__(self, options: WebhookOptions, surroundings: Surroundings) -> None:
        self._options = options
        self._around = surroundings
        self.supports = frozenset(kind.value for kind in options.supports)
        self.fences = options.fences
        self._ask_at: dict[str, str] = {}  # key → Location
        self._asked_to_wait: tuple[datetime, datetime] | None = None  # since, until
        self._first_seen = FirstSeen()

    async def apply(self, key: str, action: Action) -> Reply:
        """Give one order, or ask how far it is. Raises TransientError and PermanentError as the port says."""
        if action.kind not in self.supports:
            known = ", ".join(sorted(self.supports))
            raise PermanentError(
                f"{self._who(action.service)} offers no '{action.kind}'; it offers: {known}."
            )
        if not self.fences and action.kind is Kind.DEPLOY and key not in self._ask_at:
            before = await self._read(answer.reading(action))
            if answer.as_ordered(before, action):
                return answer.already(before, self._who(action.service))
        told = await self._ask(key, action, self._options.timeout_s)
        return answer.reply_of(told, key, action, self._who(action.service))

    async def instances(self, service: str) -> tuple[Instance, ...]:
        """What the target lists, or counts, now. Raises TransientError and PermanentError."""
        action = Action(kind=Kind.VERIFY, region=self._around.region, service=service)
        told = await self._read(action)
        return answer.instances_of(told, self._first_seen.of(service, told, self._around.clock.now()))

    # ------------------------------------------------------------------ asking

    async def _read(self, action: Action) -> Told:
        """Read back at once, under a key of its own."""
        key = f"reading/{uuid.uuid4().hex}"
        told = await self._ask(key, action, min(READING_S, self._options.timeout_s))
        self._ask_at.pop(key, None)
        reply = answer.reply_of(told, key, action, self._who(action.service))
        if reply.progress is not Progress.SUCCEEDED:
            raise TransientError(f"What runs of {action.service} cannot be read: {reply.result.message}")
        return told

    async def _ask(self, key: str, action: Action, timeout_s: float) -> Told:
        """Give the order, or ask on where the target said; one that has forgotten is given it again."""
        location = self._ask_at.get(key)
        try:
            if location:
                found = await self._send("GET", location, key, action, "", timeout_s)
            else:
                body = json.dumps(answer.order_of(key, action))
                found = await self._send("POST", self._url(action.service), key, action, body, timeout_s)
        except Gone as gone:
            self._ask_at.pop(key, None)
            raise TransientError(f"{gone} The order is given again under the same key.") from gone
        told = _told(found, self._who(action.service))
        if found.location:
            self._remember(key, found.location)
        elif told.status != "running":
            self._ask_at.pop(key, None)
        return told

    async def _send(
        self, method: Literal["GET", "POST"], url: str, key: str, action: Action, body: str, timeout_s: float
    ) -> Answered:
        self._wait_as_asked(action)
        file, variable = self._options.secret_file, self._options.secret_env
        secrets = secrets_in(self._around.directory, file, variable)
        now = self._around.clock.now()
        headers = signed(key, now, body, secrets)
        http = self._around.http
        try:
            return await call(http, method, url, body=body, headers=headers, timeout_s=timeout_s, now=now)
        except AskedToWait as asked:
            self._asked_to_wait = (now, now + timedelta(seconds=asked.wait_s))
            raise

    # ------------------------------------------------------------------ what every order needs

    def _url(self, service: str) -> str:
        names = {"service": quote(service, safe=""), "region": quote(self._around.region, safe="")}
        return self._options.url.format_map(names)

    def _who(self, service: str) -> str:
        return origin(self._url(service))

    def _wait_as_asked(self, action: Action) -> None:
        """Leave a target alone that asked for time; a way back waits a few seconds only."""
        if self._asked_to_wait is None:
            return
        since, until = self._asked_to_wait
        if action.kind in GOES_BACK:
            until = min(until, since + timedelta(seconds=BACK_WAITS_S))
        left = (until - self._around.clock.now()).total_seconds()
        if left > 0:
            raise TransientError(f"{self._who(action.service)} asked to be left alone for {left:.0f} s more.")

    def _remember(self, key: str, location: str) -> None:
        self._ask_at[key] = location
        while len(self._ask_at) > REMEMBERED:
            del self._ask_at[next(iter(self._ask_at))]


def _told(found: Answered, who: str) -> Told:
    """An answer as it is believed; what was only accepted still runs, whatever else is said of it."""
    if found.code != 202:
        return answer.read_answer(found.content, who)
    told = answer.read_answer(found.content, who) if found.content.strip() else Told(status="running")
    return told.model_copy(update={"status": "running"})
