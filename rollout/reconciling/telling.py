"""Telling people: every notice goes to every channel, and each channel has tries and success of its own.

The notices of a decision are in the outbox, one action for each channel (`spread`). Those that no decision
can write, about a rollout that cannot be decided or a region in doubt, are kept here and tried until they are
told (`tell`); after a restart they are told again as long as what they say is true.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from rollout.core.actions import ActionRecord
from rollout.core.errors import PermanentError, TransientError, gone_wrong
from rollout.core.model import Kind
from rollout.http import pool
from rollout.ports import Clock, Notice, Notifier

log = structlog.get_logger(__name__)

ANSWER_S = 30.0
RETRY_S, RETRY_CAP_S = 0.5, 60.0
UNKNOWN_FOR_S = 86400.0  # a channel that is not set here may be set on another replica, or again tomorrow
TOLD = 1000  # keys that are remembered, so that the same is not told each time that it is seen


@dataclass(frozen=True, slots=True, kw_only=True)
class _Untold:
    """A notice that one channel has not taken yet."""

    notice: Notice
    channel: str
    tries: int = 0
    due_at: datetime

    @property
    def key(self) -> str:
        """Of this notice on this channel."""
        return f"{self.channel}/{self.notice.key}"


class Telling:
    """The channels: one without a name, which every notice has, and any number of named ones."""

    def __init__(self, clock: Clock, notifier: Notifier, channels: Mapping[str, Notifier]) -> None:
        self._clock = clock
        self._channels: Mapping[str, Notifier] = {"": notifier, **channels}
        self._untold: dict[str, _Untold] = {}
        self._told: dict[str, None] = {}
        self._telling: dict[str, asyncio.Task[None]] = {}

    # ------------------------------------------------------------------ notices in the outbox

    def spread(self, records: Iterable[ActionRecord]) -> tuple[ActionRecord, ...]:
        """The actions of a decision, each notice once more, with a key of its own, for each named channel."""
        found = []
        for record in records:
            found.append(record)
            if record.action.kind is Kind.NOTIFY:
                found += [_copy(record, channel) for channel in self._channels if channel]
        return tuple(found)

    async def send(self, record: ActionRecord) -> None:
        """Tell one recorded notice on its channel. Raises as the channel does."""
        action, channel = record.action, str(record.action.details.get("channel", ""))
        notice = Notice(
            key=str(action.details.get("notice", record.key)),
            rollout_id=record.rollout_id,
            service=action.service,
            text=str(action.details["text"]),
            urgent=bool(action.details["urgent"]),
            at=record.recorded_at,
        )
        try:
            await self._known(channel, record).send(notice)
        except PermanentError as error:
            self._gone(channel, notice, error)
            raise

    def _known(self, channel: str, record: ActionRecord) -> Notifier:
        if found := self._channels.get(channel):
            return found
        text = "It is not set on this controller; set it as docs/notifiers.md says."
        waited = (self._clock.now() - record.recorded_at).total_seconds()
        if waited < UNKNOWN_FOR_S:
            raise TransientError(f"Channel '{channel}': {text}")
        raise PermanentError(f"{text} Its notices are given up after {UNKNOWN_FOR_S / 3600:g} h.")

    def _gone(self, channel: str, notice: Notice, error: PermanentError) -> None:
        """A channel that wants nothing more is said on the one that every notice has."""
        log.error("channel takes no notice; it is told elsewhere only", key=notice.key, error=str(error))
        if channel:
            text = f"The channel '{channel}' takes no notices: {error} They are told elsewhere only."
            said = Notice(key=f"channel/{channel}/gone", rollout_id="", service="", text=text, urgent=True)
            self._keep(said, "")

    # ------------------------------------------------------------------ notices that nothing can record

    def tell(self, notice: Notice) -> None:
        """Tell it on every channel, and again until it was taken; once for each key."""
        for channel in self._channels:
            self._keep(replace(notice, at=notice.at or self._clock.now()), channel)

    def look(self) -> None:
        """Try what is due; nobody waits for it."""
        now = self._clock.now()
        for key, untold in list(self._untold.items()):
            if untold.due_at <= now and key not in self._telling:
                self._telling[key] = asyncio.create_task(self._try(untold), name=key)
                self._telling[key].add_done_callback(lambda done: self._telling.pop(done.get_name(), None))

    @property
    def under_way(self) -> tuple[asyncio.Task[None], ...]:
        """The tries that have not ended."""
        return tuple(self._telling.values())

    def _keep(self, notice: Notice, channel: str) -> None:
        untold = _Untold(notice=notice, channel=channel, due_at=self._clock.now())
        if untold.key not in self._told:
            self._untold.setdefault(untold.key, untold)

    async def _try(self, untold: _Untold) -> None:
        try:
            with pool(f"tell/{untold.channel}"):
                async with asyncio.timeout(ANSWER_S):
                    await self._channels[untold.channel].send(untold.notice)
        except PermanentError as error:
            self._end(untold)
            self._gone(untold.channel, untold.notice, error)
        except Exception as error:
            wait_s = min(RETRY_CAP_S, RETRY_S * 2.0 ** min(untold.tries, 10))
            due_at = self._clock.now() + timedelta(seconds=wait_s)
            self._untold[untold.key] = replace(untold, tries=untold.tries + 1, due_at=due_at)
            if untold.tries == 0:
                why = gone_wrong(error, ANSWER_S)
                log.warning("notice not delivered; trying again", key=untold.key, error=why)
        else:
            self._end(untold)

    def _end(self, untold: _Untold) -> None:
        del self._untold[untold.key]
        self._told[untold.key] = None
        while len(self._told) > TOLD:
            del self._told[next(iter(self._told))]


def _copy(record: ActionRecord, channel: str) -> ActionRecord:
    details = {**record.action.details, "channel": channel, "notice": record.key}
    return replace(record, key=f"{channel}/{record.key}", action=replace(record.action, details=details))
