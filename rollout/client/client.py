"""The verbs of the API as methods. Each POST counts once, however often it has to be sent."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx

from rollout.client import stream
from rollout.client.errors import Refused, Unreachable, WaitedTooLong
from rollout.client.reading import read
from rollout.client.stream import Patience
from rollout.client.wire import ANSWERS_S, ATTEMPTS, Answer, Wire
from rollout.clock import SteadyClock
from rollout.core.model import FINISHED, KnownGood, Phase
from rollout.ports import Clock, Token
from rollout.settings import load_settings
from rollout.showing.views import ApprovalView, EventView, PlanView, RolloutView, RunningView, ServiceView

T = TypeVar("T")
POLL_S = 30  # of one long poll; proxies often end what is silent for 60 s
LEAST_S = 1.0  # between two looks, where the server does not wait
PATIENCE_S = 60.0  # how long the server may be away, for example while it restarts
PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """The caller, and what its token may do."""

    token: Token
    permissions: tuple[str, ...]


def ended(view: RolloutView) -> bool:
    """Whether a rollout is over, or only people can end it: its rollback failed."""
    return view.phase in FINISHED or view.phase == Phase.ROLLBACK_FAILED


def attention(view: RolloutView) -> bool:
    """Whether it is over, or waits for a person."""
    waits = view.phase in (Phase.AWAITING_APPROVAL, Phase.HELD)
    return ended(view) or waits or view.needs_person


class Client:
    """One server, one token. A context manager. Every method raises ClientError (errors.py).

    `key` of a method is its Idempotency-Key; without one, each call has a key of its own. `seen` is the
    `row_version` that was decided upon: Changed is raised when the rollout moved on since. What is asked is
    asked again, `attempts` times in all, when the server is away; waiting bears that for `patience_s`.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        attempts: int = ATTEMPTS,
        patience_s: float = PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
        clock: Clock | None = None,
        away: Callable[[Exception, float], None] = lambda _error, _seconds: None,
    ) -> None:
        self.wire = Wire(url, token, transport=transport, attempts=attempts, sleep=sleep)
        self._patience_s, self._sleep, self._away = patience_s, sleep, away
        self._clock = clock or SteadyClock()

    @classmethod
    def from_environment(cls) -> Self:
        """The server and token that ROLLOUT_URL, ROLLOUT_TOKEN and ROLLOUT_TOKEN_FILE name."""
        settings = load_settings()
        return cls(settings.public_url, settings.bearer_token())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.wire.close()

    # ------------------------------------------------------------------ rollouts

    def start(self, service: str, version: str, *, key: str | None = None, **more: str) -> RolloutView:
        """Start to move a release.

        `more`: artifact, lock_digest, change_url, author, policy, note, override.
        """
        body = {"service": service, "version": version, **more}
        return self._post(RolloutView, "/v1/rollouts", body, key)

    def plan(self, service: str, version: str, *, policy: str | None = None) -> PlanView:
        """What `start` would do; nothing is started."""
        given = {"policy": policy} if policy else {}
        return self._post(PlanView, "/v1/rollouts/plan", {"service": service, "version": version, **given})

    def rollout(self, rollout_id: str) -> RolloutView:
        """One rollout, by its id or the beginning of it."""
        return self._get(RolloutView, path(rollout_id))

    def rollouts(
        self, *, service: str | None = None, phases: Sequence[Phase] = (), needs_me: bool = False
    ) -> Iterator[RolloutView]:
        """Every rollout that fits, newest first, page by page."""
        wanted = {"service": service, "phase": list(phases) or None, "needs": "me" if needs_me else None}
        return self._pages(RolloutView, "/v1/rollouts", wanted)

    def hold(
        self,
        rollout_id: str,
        reason: str,
        *,
        for_s: int | None = None,
        then: str = "hold",
        key: str | None = None,
    ) -> RolloutView:
        """Stop it where it stands; after `for_s` seconds it is still held, or goes on (`then` resume)."""
        timed = {"for_s": for_s, "then": then} if for_s is not None else {}
        return self._act(rollout_id, "hold", {"reason": reason, **timed}, key)

    def resume(self, rollout_id: str, reason: str, *, key: str | None = None) -> RolloutView:
        """Let a held rollout go on."""
        return self._act(rollout_id, "resume", {"reason": reason}, key)

    def promote(
        self, rollout_id: str, reason: str, *, seen: int, region: str | None = None, key: str | None = None
    ) -> RolloutView:
        """End the bakes under way now, of one region or of all: an override."""
        where = {"region": region} if region else {}
        return self._act(rollout_id, "promote", {"reason": reason, **where}, key, seen)

    def rollback(self, rollout_id: str, reason: str, *, key: str | None = None) -> RolloutView:
        """Restore every touched region; needs no approval."""
        return self._act(rollout_id, "rollback", {"reason": reason}, key)

    def cancel(self, rollout_id: str, reason: str, *, key: str | None = None) -> RolloutView:
        """End one that has touched no region."""
        return self._act(rollout_id, "cancel", {"reason": reason}, key)

    def retry(self, rollout_id: str, reason: str, *, key: str | None = None) -> RolloutView:
        """Start an ended one again: a new rollout, except where a rollback that failed is tried again."""
        return self._act(rollout_id, "retry", {"reason": reason}, key)

    def approve(self, rollout_id: str, reason: str, *, seen: int, key: str | None = None) -> RolloutView:
        """Say yes to what `seen` showed."""
        return self._act(rollout_id, "approve", {"reason": reason}, key, seen)

    def reject(
        self, rollout_id: str, reason: str, *, seen: int | None = None, key: str | None = None
    ) -> RolloutView:
        """Say no: what was touched is restored."""
        return self._act(rollout_id, "reject", {"reason": reason}, key, seen)

    def note(self, rollout_id: str, text: str, *, key: str | None = None) -> RolloutView:
        """Put a remark into the timeline, also of one that has ended."""
        return self._act(rollout_id, "notes", {"text": text}, key)

    def report_gate(
        self,
        rollout_id: str,
        gate: str,
        status: str,
        *,
        region: str | None = None,
        url: str = "",
        message: str = "",
    ) -> RolloutView:
        """Report `passed` or `failed` for a gate of the plan; the newest report counts."""
        given = {"status": status, "region": region, "url": url, "message": message}
        body = {name: value for name, value in given.items() if value}
        answer = self.wire.ask("PUT", path(rollout_id, f"gates/{quote(gate, safe='')}"), body=body)
        return read(RolloutView, answer.body)

    def approvals(self, state: str | None = "pending") -> Iterator[ApprovalView]:
        """Approvals in one state, or in all."""
        return self._pages(ApprovalView, "/v1/approvals", {"state": state})

    # ------------------------------------------------------------------ history

    def events(self, rollout_id: str | None = None, *, after: int = 0) -> Iterator[EventView]:
        """What happened so far after a place in the global sequence, oldest first."""
        return (read(EventView, one) for one in self.raw_events(rollout_id, after=after))

    def raw_events(self, rollout_id: str | None = None, *, after: int = 0) -> Iterator[Mapping[str, Any]]:
        """The same as JSON."""
        place, last = _events(rollout_id), after
        while True:
            page = self.wire.ask("GET", place, query={"after": last}).body
            yield from page["items"]
            seen = max((one["sequence"] for one in page["items"]), default=last)
            if not page.get("next_cursor"):
                return
            last = max(seen, int(page["next_cursor"]))

    def stream(self, rollout_id: str | None = None, *, after: int | None = 0) -> Iterator[EventView]:
        """The same as it happens, for ever: resumed by itself, none lost, none twice. None: from now on."""
        return (read(EventView, one) for one in self.raw_stream(rollout_id, after=after))

    def raw_stream(
        self, rollout_id: str | None = None, *, after: int | None = 0
    ) -> Iterator[Mapping[str, Any]]:
        """The same as JSON."""
        return stream.follow(
            self.wire, _events(rollout_id), after=after, patience=self._patience(), sleep=self._sleep
        )

    def report(self, rollout_id: str) -> Mapping[str, Any]:
        """The report as JSON: docs/cli.md lists what it holds."""
        found: Mapping[str, Any] = self.wire.ask("GET", path(rollout_id, "report.json")).body
        return found

    def report_markdown(self, rollout_id: str) -> str:
        """The report as people read it."""
        return self.wire.text(path(rollout_id, "report.md"), "text/markdown")

    # ------------------------------------------------------------------ waiting

    def wait(
        self,
        rollout_id: str,
        until: Callable[[RolloutView], bool] = ended,
        *,
        timeout_s: float | None = None,
    ) -> RolloutView:
        """Wait, by long poll, until it is so. Raises WaitedTooLong; the rollout goes on."""
        for view in self.changes(rollout_id, timeout_s=timeout_s):
            if until(view):
                return view
        raise AssertionError("changes ends by raising")

    def changes(self, rollout_id: str, *, timeout_s: float | None = None) -> Iterator[RolloutView]:
        """The rollout now and at every change, and each half minute. Raises WaitedTooLong."""
        return (read(RolloutView, look.body) for look in self.looks(rollout_id, timeout_s=timeout_s))

    def looks(self, rollout_id: str, *, timeout_s: float | None = None) -> Iterator[Answer]:
        """The same as the server said it."""
        deadline = self._clock.now() + timedelta(seconds=timeout_s) if timeout_s is not None else None
        patience, seen = self._patience(), ""
        while True:
            begun = self._clock.now()
            try:
                answer = self._look(rollout_id, seen, _left(deadline, begun))
            except (Unreachable, Refused) as error:
                patience.bear(error)
                seen = ""
            else:
                patience.rewarded()
                fresh = not answer.unchanged and (not seen or answer.etag != seen)
                seen = "" if answer.unchanged else answer.etag  # what changes without a version is read too
                if fresh:
                    yield answer
                    continue
            self._pause(rollout_id, begun, deadline)

    def _look(self, rollout_id: str, seen: str, left_s: float) -> Answer:
        wait_s = int(min(POLL_S, left_s))
        polling = {"If-None-Match": seen, "Prefer": f"wait={wait_s}"} if seen and wait_s >= 1 else {}
        answers_s = ANSWERS_S + (wait_s if polling else 0)
        return self.wire.ask("GET", path(rollout_id), headers=polling, attempts=1, answers_s=answers_s)

    def _pause(self, rollout_id: str, begun: datetime, deadline: datetime | None) -> None:
        now = self._clock.now()
        if deadline is not None and now >= deadline:
            raise WaitedTooLong(f"The time to wait is over; the rollout {rollout_id} goes on.")
        rest = LEAST_S - (now - begun).total_seconds()
        if rest > 0:
            self._sleep(min(rest, _left(deadline, now)))

    # ------------------------------------------------------------------ services and access

    def services(self) -> tuple[ServiceView, ...]:
        """The declared services."""
        return tuple(self._pages(ServiceView, "/v1/services", {}))

    def service(self, name: str) -> ServiceView:
        """One declared service."""
        return self._get(ServiceView, _service(name))

    def running(self, name: str) -> tuple[RunningView, ...]:
        """What really runs of a service, region by region."""
        return tuple(self._pages(RunningView, _service(name, "regions"), {}))

    def adopt(
        self,
        name: str,
        reason: str,
        *,
        regions: Sequence[str] = (),
        override: str = "",
        key: str | None = None,
    ) -> tuple[KnownGood, ...]:
        """Call what runs now known good; with `override`, also a version that was rolled back."""
        body: dict[str, Any] = {"reason": reason, "regions": list(regions)}
        if override:
            body["override"] = override
        found = self.wire.ask("POST", _service(name, "adopt"), body=body, key=key).body
        return tuple(read(KnownGood, one) for one in found["items"])

    def whoami(self) -> Who:
        """Who the token is for, and what it may do."""
        return self._get(Who, "/v1/whoami")

    # ------------------------------------------------------------------ how

    def _get(self, kind: type[T], place: str) -> T:
        return read(kind, self.wire.ask("GET", place).body)

    def _post(self, kind: type[T], place: str, body: Mapping[str, Any], key: str | None = None) -> T:
        return read(kind, self.wire.ask("POST", place, body=body, key=key).body)

    def _act(
        self, rollout_id: str, verb: str, body: Mapping[str, Any], key: str | None, seen: int | None = None
    ) -> RolloutView:
        headers = {"If-Match": f'"{seen}"'} if seen is not None else {}
        answer = self.wire.ask("POST", path(rollout_id, verb), body=body, key=key, headers=headers)
        return read(RolloutView, answer.body)

    def _pages(self, kind: type[T], place: str, wanted: Mapping[str, Any]) -> Iterator[T]:
        cursor = None
        while True:
            page = self.wire.ask("GET", place, query={**wanted, "cursor": cursor}).body
            yield from (read(kind, one) for one in page["items"])
            cursor = page.get("next_cursor")
            if not cursor:
                return

    def _patience(self) -> Patience:
        return Patience(self._patience_s, self._clock.now, self._away)


def path(rollout_id: str, part: str = "") -> str:
    """Where a rollout, or one part of it, lives."""
    found = f"/v1/rollouts/{quote(rollout_id, safe='')}"
    return f"{found}/{part}" if part else found


def _service(name: str, part: str = "") -> str:
    found = f"/v1/services/{quote(name, safe='')}"
    return f"{found}/{part}" if part else found


def _events(rollout_id: str | None) -> str:
    return path(rollout_id, "events") if rollout_id else "/v1/events"


def _left(deadline: datetime | None, now: datetime) -> float:
    return POLL_S if deadline is None else max(0.0, (deadline - now).total_seconds())
