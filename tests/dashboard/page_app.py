"""The pages over a controller stand-in: real access, hand-built views, commands that only record."""

import asyncio
import html
import re
from collections.abc import Collection, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import httpx
from page_views import EVENTS, ID, NOW, fleet, rollout, series, started

from api.app import create_app
from rollout.access import Access
from rollout.core.errors import NotFound, RolloutError, StoreError
from rollout.core.model import IntentKind, Phase, Rollout
from rollout.ports import Token
from rollout.possible import Actor
from rollout.showing.series import SeriesView
from rollout.showing.views import ApprovalView, EventView, Fleet, RolloutView
from rollout.tail import Tail
from rollout.testing import ManualClock

ORIGIN = {"origin": "http://page.test"}


class AccessStore:
    """Tokens and sessions in memory: the part of the store that Access needs."""

    def __init__(self) -> None:
        self.by_hash: dict[str, Token] = {}
        self.sessions: dict[str, tuple[str, str, datetime]] = {}

    async def add_token(self, token: Token, secret_hash: str) -> None:
        self.by_hash[secret_hash] = token

    async def token(self, secret_hash: str) -> Token | None:
        return self.by_hash.get(secret_hash)

    async def add_session(self, session_hash: str, token_id: str, csrf: str, expires_at: datetime) -> None:
        self.sessions[session_hash] = (token_id, csrf, expires_at)

    async def session(self, session_hash: str, now: datetime) -> tuple[Token, str] | None:
        token_id, csrf, expires_at = self.sessions.get(session_hash, ("", "", now))
        found = [t for t in self.by_hash.values() if t.id == token_id and expires_at > now]
        return (found[0], csrf) if found else None

    async def end_session(self, session_hash: str) -> None:
        self.sessions.pop(session_hash, None)


class PretendQueries:
    """Gives what a test put there."""

    def __init__(self) -> None:
        self.views: dict[str, RolloutView] = {ID: rollout(Phase.PROGRESSING)}
        self.history: tuple[EventView, ...] = EVENTS
        self.front: Fleet | None = None

        self.asked: ApprovalView | None = None
        self.written = 1
        self.broken = False

    def show(self, view: RolloutView) -> None:
        self.views[ID] = view
        self.written += 1

    async def stamps(self, rollout_ids: Collection[str]) -> dict[str, int]:
        if self.broken:
            raise StoreError("the database does not answer")
        return {"": self.written, **dict.fromkeys(rollout_ids, self.written)}

    async def newest(self) -> int:
        return self.written

    async def series(
        self, view: RolloutView, region: str, signals: Sequence[str] = (), *, points: int = 120
    ) -> dict[str, SeriesView]:
        names = [check.signal for check in view.checks if check.region == region]
        missing = [name for name in signals if name not in names]
        if missing:
            raise NotFound("check", missing[0], f"Checked by this rollout: {', '.join(names)}.")
        return {name: series(region, name) for name in signals or names}

    async def approval(self, approval_id: str) -> ApprovalView:
        if self.asked is None or approval_id != self.asked.id:
            raise NotFound("approval", approval_id)
        return self.asked

    async def rollout(self, prefix: str) -> RolloutView:
        if prefix not in self.views:
            raise NotFound("rollout", prefix)
        return self.views[prefix]

    async def events(self, *, rollout_id: str | None, after: int, limit: int) -> tuple[EventView, ...]:
        return self.history[:limit]

    async def newest_events(
        self, rollout_id: str, *, before: int | None, limit: int
    ) -> tuple[EventView, ...]:
        return tuple(e for e in self.history if before is None or e.sequence < before)[-limit:]

    async def fleet(self, only: Sequence[str] = ()) -> Fleet:
        return self.front or fleet(*self.views.values())


class PretendCommands:
    """Records what was asked; `refuse` is raised instead."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, str, dict[str, Any]]] = []
        self.refuse: RolloutError | None = None

    def _record(self, verb: str, rollout_id: str, actor: Actor, reason: str, **more: Any) -> None:
        if self.refuse:
            raise self.refuse
        self.asked.append((verb, rollout_id, actor.name, reason, more))

    async def hold(self, rollout_id: str, actor: Actor, reason: str, **more: Any) -> None:
        self._record("hold", rollout_id, actor, reason, **more)

    async def resume(self, rollout_id: str, actor: Actor, reason: str, **more: Any) -> None:
        self._record("resume", rollout_id, actor, reason, **more)

    async def promote(self, rollout_id: str, actor: Actor, reason: str, **more: Any) -> None:
        self._record("promote", rollout_id, actor, reason, **more)

    async def retry(self, rollout_id: str, actor: Actor, reason: str, **more: Any) -> Rollout:
        self._record("retry", rollout_id, actor, reason, **more)
        return started("ro_AGAIN")

    async def note(self, rollout_id: str, actor: Actor, text: str) -> None:
        self._record("note", rollout_id, actor, text)

    async def rollback(self, rollout_id: str, actor: Actor, reason: str, **more: Any) -> None:
        self._record("rollback", rollout_id, actor, reason, **more)

    async def cancel(self, rollout_id: str, actor: Actor, reason: str, **more: Any) -> None:
        self._record("cancel", rollout_id, actor, reason, **more)

    async def decide_approval(
        self, rollout_id: str, actor: Actor, decision: IntentKind, reason: str, **more: Any
    ) -> None:
        self._record(str(decision), rollout_id, actor, reason, **more)


class Hanging:
    """An app that can stop answering while its lines stay open, as a server does that hangs."""

    def __init__(self, app: Any) -> None:
        self._app, self.hangs = app, False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: Any) -> None:
            while self.hangs:  # noqa: ASYNC110  # the test sets it from another thread
                await asyncio.sleep(0.05)
            await send(message)

        await self._app(scope, receive, sent)


class Stage:
    """A pretend controller and the app over it."""

    def __init__(self, public_url: str = "http://page.test") -> None:
        self.clock = ManualClock(NOW)
        self.access_store = AccessStore()
        self.access = Access(self.access_store, self.clock)  # type: ignore[arg-type]
        self.queries, self.commands = PretendQueries(), PretendCommands()
        self.settings = SimpleNamespace(public_url=public_url, streams_max=20)
        self.tail = Tail(self.queries.newest)
        self.telemetry = SimpleNamespace(happened=lambda *_: None)
        self.app = create_app(self)  # type: ignore[arg-type]
        self.served = Hanging(self.app)

    def browser(self) -> httpx.AsyncClient:
        """A client that keeps cookies and says where its forms come from, as browsers do."""
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url="http://page.test", headers=ORIGIN)

    async def secret(self, role: str = "admin", name: str = "ann", **more: Any) -> str:
        """A new token."""
        return (await self.access.create_token(name, role, **more))[1]

    async def logged_in(self, role: str = "admin", name: str = "ann", **more: Any) -> httpx.AsyncClient:
        """A browser with a session of `role`."""
        client = self.browser()
        _, session = await self.access.log_in(await self.secret(role, name, **more))
        client.cookies.set("rollout_session", session, domain="page.test")
        return client


def hidden(page: str, name: str) -> str:
    """The value of a hidden field of a page's forms."""
    found = re.search(rf'<input type="hidden" name="{name}" value="([^"]*)">', page)
    assert found, f"no field {name}"
    return html.unescape(found[1])


def text_of(page: str) -> str:
    """A page as it reads: without tags, each run of white space one blank."""
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", page).split()))
