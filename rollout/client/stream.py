"""Server-sent events as an endless iterator: resumed where it broke off, so that none is lost or doubled."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rollout.client.errors import NotOurs, Refused, Unreachable
from rollout.client.wire import AWAY, Wire

SILENT_S = 45.0  # the server says something every 15 s, if only that it is there
MEDIA = "text/event-stream"
PLACE, CLOSED = ": from", "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One server-sent event. `id` is the global sequence number of ours."""

    id: str
    kind: str
    data: str


class Patience:
    """Bears a server that is away, for `seconds` in a row; `say` is called once each time it goes away."""

    def __init__(
        self, seconds: float, now: Callable[[], datetime], say: Callable[[Exception, float], None]
    ) -> None:
        self._seconds, self._now, self._say = seconds, now, say
        self._since: datetime | None = None
        self.times = 0  # in a row

    def bear(self, error: Exception) -> None:
        """Return while it is worth asking again. Raises `error` when it is not, or has lasted."""
        if isinstance(error, Refused) and (error.status not in AWAY or error.type == "outside"):
            raise error
        now = self._now()
        if self._since is None:
            self._since = now
            self._say(error, self._seconds)
        elif now - self._since >= timedelta(seconds=self._seconds):
            raise error
        self.times += 1

    def rewarded(self) -> None:
        """The server answered."""
        self._since, self.times = None, 0


def follow(
    wire: Wire,
    path: str,
    *,
    after: int | None,
    patience: Patience,
    sleep: Callable[[float], None],
) -> Iterator[Any]:
    """Give each event after a place in the global sequence (None: after now), as JSON, for ever."""
    last = after
    while True:
        try:
            headers = {"Accept": MEDIA, **({"Last-Event-ID": str(last)} if last is not None else {})}
            with wire.stream(path, query={"after": last}, headers=headers, silent_s=SILENT_S) as lines:
                for message in messages(lines):
                    patience.rewarded()
                    place = int(message.id) if message.id.isdigit() else -1
                    if message.kind == PLACE:
                        last = place if last is None else last
                    elif last is None or place > last:
                        yield _json(message)
                        last = place
        except (Unreachable, Refused) as error:
            patience.bear(error)
        sleep(wire.pause_s(patience.times + 1))


def messages(lines: Iterator[str]) -> Iterator[Message]:
    """Lines of the format of WHATWG HTML, section 9.2, into events.

    Of the comments only `: from 17` counts, by which the server says where a stream begins: as a PLACE.
    """
    data: list[str] = []
    kind = last = ""
    for line in lines:
        if not line:
            if data and kind != CLOSED:  # the server says why it ends; it is asked again
                yield Message(id=last, kind=kind or "message", data="\n".join(data))
            kind, data = "", []
            continue
        if line.startswith(": from ") and not kind and not data:
            yield Message(id=line.removeprefix(": from "), kind=PLACE, data="")
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            kind = value
        elif name == "id":
            last = value


def _json(message: Message) -> Any:
    try:
        return json.loads(message.data)
    except json.JSONDecodeError as error:
        raise NotOurs(f"The event {message.id} is not JSON: {error}.") from error
