"""What takes effect once: a request with a key, how far it came, and the mark that its effect leaves.

The store writes the mark in the same transaction as the effect, so that after a crash it is known whether a
request took effect. What must not live here: HTTP, SQL, and what is answered.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime

TAKEN_OVER_AFTER_S = 60.0  # a copy that has neither answered nor had an effect for so long is dead


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One copy of a request: whose key, what was asked, and which copy this is (a number used once)."""

    scope: str
    key: str
    fingerprint: str
    owner: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was answered, byte by byte."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is known of a key. `owner` is empty when the copy that worked on it has ended.

    `resource` says what the effect is about, such as `rollout:ro_…`; it is None before there is an effect.
    """

    fingerprint: str
    owner: str
    started_at: datetime
    effect_at: datetime | None = None
    resource: str | None = None
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class _Under:
    claim: Claim
    task: "asyncio.Task[object] | None"


_CURRENT: ContextVar[_Under | None] = ContextVar("claim", default=None)


@contextmanager
def under(claim: Claim) -> Iterator[None]:
    """Let what this task writes be the effect of `claim`."""
    token = _CURRENT.set(_Under(claim, asyncio.current_task()))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current_claim() -> Claim | None:
    """The claim whose effect this task writes; a task that it started (the heartbeat) writes for itself."""
    found = _CURRENT.get()
    return found.claim if found and found.task is asyncio.current_task() else None
