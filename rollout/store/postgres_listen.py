"""Being woken when another replica writes: LISTEN on a connection of its own, in a thread of its own.

Nothing rests on it: who hears nothing finds the same at its next tick (S15), so what is lost with a
connection is never made up for. On every new one both calls are made, since nobody knows what was missed.
"""

import contextlib
import selectors
import socket
import ssl
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import structlog

from rollout.store.dialects import ASKED
from rollout.store.postgres_faults import message_of

CHANNEL = "rollout_wrote"
LOOK_S = 30.0  # of silence, after which the server is asked whether it is still there
PAUSE_S, PAUSE_CAP_S = 0.5, 30.0  # before the next try to connect; doubled each time
_END_S = 5.0  # that the thread is given to end

log = structlog.get_logger(__name__)


class Listener:
    """Calls `wrote` when another sender wrote history, and `asked` too when it asked for a look.

    They are called in the thread of the listener.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        own: str,
        *,
        wrote: Callable[[], object],
        asked: Callable[[], object],
    ) -> None:
        self._connect, self._own, self._wrote, self._asked = connect, own, wrote, asked
        self._connection: Any = None
        self._tries = 0
        self._ended = Event()
        self._ending, self._end = socket.socketpair()
        self._thread = Thread(target=self._run, name="listen", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, also while it waits for a server that is silent."""
        self._ended.set()
        self._end.send(b"x")
        connection = self._connection
        with contextlib.suppress(OSError, AttributeError):  # it has none, or none any more
            connection._usock.shutdown(socket.SHUT_RDWR)
        self._thread.join(_END_S)
        self._ending.close()
        self._end.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._connection = self._connect()
                try:
                    self._listen(self._connection)
                finally:
                    self._connection.close()
            except Exception as error:  # whatever it was: it is tried again for ever
                self._wait_after(error)

    def _wait_after(self, error: Exception) -> None:
        if not self._tries and not self._ended.is_set():
            log.warning(
                "not woken by other replicas; what they write is seen at the next tick. It is tried again",
                error=message_of(error),
            )
        self._ended.wait(min(PAUSE_CAP_S, PAUSE_S * 2.0**self._tries))
        self._tries = min(self._tries + 1, 10)

    def _listen(self, connection: Any) -> None:
        connection.autocommit = True
        _ask(connection, f"LISTEN {CHANNEL}")
        if self._tries:
            log.info("woken by other replicas again")
        self._tries = 0
        self._tell((f" {ASKED}",))
        while not self._ends(connection):
            _ask(connection, "SELECT 1")  # takes in what came, and fails when the server is gone
            self._tell(_taken(connection.notifications))

    def _ends(self, connection: Any) -> bool:
        """Wait for a word of the server, or for as long as it may be silent. True: this is the end."""
        if not self._ended.is_set() and not _has_read_more(connection):
            with selectors.DefaultSelector() as either:
                either.register(connection._usock, selectors.EVENT_READ)
                either.register(self._ending, selectors.EVENT_READ)
                either.select(LOOK_S)
        return self._ended.is_set()

    def _tell(self, told: tuple[str, ...]) -> None:
        if self._ended.is_set():
            return
        others = [said for said in told if not said.startswith(f"{self._own} ")]
        if others:
            self._wrote()
        if any(said.endswith(f" {ASKED}") for said in others):
            self._asked()


def _ask(connection: Any, statement: str) -> None:
    cursor = connection.cursor()
    cursor.execute(statement)
    cursor.close()


def _taken(notifications: Any) -> tuple[str, ...]:
    """What was told since the last time. The driver keeps the newest hundred: of more, some are lost."""
    lost = (f" {ASKED}",) if len(notifications) == notifications.maxlen else ()
    told = tuple(payload for _, channel, payload in notifications if channel == CHANNEL)
    notifications.clear()
    return (*told, *lost)


def _has_read_more(connection: Any) -> bool:
    """Whether the driver has read further than it took: the socket then says nothing of it."""
    sock, patience = connection._usock, connection._usock.gettimeout()
    sock.settimeout(0)
    try:
        return bool(connection._sock.peek(1))
    except ssl.SSLWantReadError:
        return False
    finally:
        sock.settimeout(patience)
