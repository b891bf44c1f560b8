"""Signs of life for those outside: a URL called while the controller is whole, and systemd's watchdog.

Both work as a dead man's switch: what is told is that all is well, so that silence is what wakes somebody.
They run beside the heartbeat and never delay it.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit

import httpx
import structlog

from rollout.ports import Clock

log = structlog.get_logger(__name__)

ANSWER_S = 5.0
Method = Literal["GET", "POST"]


class Beacon:
    """Calls `url` every `every_s` seconds, only while `healthy` says so. Its secret path is never written.

    `trouble` is why the last call failed, or empty; `called_at` is when one was answered last.
    """

    def __init__(
        self,
        url: str,
        http: httpx.AsyncClient,
        clock: Clock,
        healthy: Callable[[], Awaitable[str]],
        *,
        method: Method = "GET",
        every_s: float = 60.0,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self._url, self._http, self._clock, self._healthy = url, http, clock, healthy
        self._method, self._every_s, self._failed = method, every_s, failed
        self._silent = False
        self.began_at = clock.now()
        self.trouble = ""
        self.called_at: datetime | None = None

    @property
    def host(self) -> str:
        """Who is called, as far as it may be shown."""
        return urlsplit(self._url).hostname or "nobody"

    async def run(self) -> None:
        """Call for ever; nothing that happens ends it but being canceled."""
        while True:
            await self.once()
            await asyncio.sleep(self._every_s)

    async def once(self) -> None:
        """Call if all is well; a change for the worse or the better is logged once."""
        try:
            unwell = await self._healthy()
        except Exception as error:
            unwell = f"its health could not be found out: {type(error).__name__}."
        if bool(unwell) is not self._silent:
            self._silent = bool(unwell)
            say = log.error if unwell else log.info
            say("heartbeat url is not called" if unwell else "heartbeat url is called", why=unwell)
        if not unwell:
            self._told(await self._call())

    async def _call(self) -> str:
        """Why the call failed, or empty."""
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await self._http.request(self._method, self._url, follow_redirects=False)
        except TimeoutError:
            return f"no answer within {ANSWER_S:g} s."
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return f"{type(error).__name__}."  # its text may hold the URL
        return "" if answer.is_success else f"it answered {answer.status_code}."

    def _told(self, trouble: str) -> None:
        if trouble:
            self._failed()
        else:
            self.called_at = self._clock.now()
        if trouble and not self.trouble:
            log.warning("heartbeat url failed; calling on", host=self.host, error=trouble)
        elif self.trouble and not trouble:
            log.info("heartbeat url answers again", host=self.host)
        self.trouble = trouble


class Supervised:
    """Tells systemd by sd_notify(3): READY=1 once, and WATCHDOG=1 while the heartbeat beats.

    Does nothing where NOTIFY_SOCKET is not set. A name that begins with @ is an abstract socket.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        every = environment.get("WATCHDOG_USEC", "")
        self.every_s = int(every) / 2_000_000 if every.isdigit() and int(every) and ours else 0.0

    def tell(self, *states: str) -> None:
        """Send assignments such as READY=1. A supervisor that cannot be told is logged, no more."""
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.setblocking(False)
                channel.sendto("\n".join(states).encode(), address)
        except OSError as error:
            log.warning("systemd cannot be told", states=states, error=error.strerror or str(error))

    async def run(self, alive: Callable[[], bool]) -> None:
        """Feed the watchdog twice in its time while `alive`; at once return where there is none."""
        while self._address and self.every_s:
            if alive():
                self.tell("WATCHDOG=1")
            await asyncio.sleep(self.every_s)
