"""What every session is told, and every socket: nothing waits for ever for what has gone away."""

import asyncio
import gc
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from rollout.core.errors import StoreError
from rollout.store import inline, open_store
from rollout.store.postgres_url import read_url
from rollout.store.postgres_wire import connect
from tests.store.builders import plan, rollout, transition
from tests.store.postgres_lab import Server

DATABASES = ("postgresql",)
WANTED = {
    "statement_timeout": "20s",
    "idle_in_transaction_session_timeout": "4s",
    "lock_timeout": "1500ms",
    "TimeZone": "UTC",
    "search_path": "rollout",
    "application_name": "rollout",
}


def settings(engine: Engine, *names: str) -> dict[str, str]:
    with engine.connect() as conn:
        return {name: conn.execute(text(f"SHOW {name}")).scalar_one() for name in names}


def test_every_session_has_its_limits(place: Any) -> None:
    store = open_store(place.empty(), run=inline, busy_s=1.5)
    isolation = ("transaction_isolation", "transaction_read_only")
    assert settings(store.database.write, *WANTED, *isolation) == {
        **WANTED,
        "transaction_isolation": "serializable",
        "transaction_read_only": "off",
    }
    assert settings(store.database.read, *WANTED, *isolation) == {
        **WANTED,
        "transaction_isolation": "repeatable read",
        "transaction_read_only": "on",
    }
    store.close()


@pytest.mark.real
def test_a_server_that_vanished_is_noticed_by_every_socket(postgres: Server) -> None:
    connection = connect(read_url(postgres.tcp("postgres")), 5.0)
    sock = connection._usock
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    tcp = {name: sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in KEEPALIVE}
    assert tcp == KEEPALIVE
    assert sock.gettimeout() == 30.0, "longer than any statement may take, and not for ever"
    connection.close()


@pytest.mark.real
def test_a_server_that_hangs_up_at_once_leaves_no_socket_open_and_is_named(tmp_path: Path) -> None:
    """Before the greeting, in it or after it, as it comes; a socket left open warns when it is forgotten."""
    address = read_url(f"postgresql://ann@/x?host={tmp_path}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address.hosts[0].socket or "")
        listener.listen()
        threading.Thread(target=hang_up, args=(listener, ATTEMPTS), daemon=True).start()
        for _ in range(ATTEMPTS):
            with pytest.raises(StoreError, match=r"cannot be reached: .*See whether the server runs"):
                connect(address, 1.0)
    gc.collect()


ATTEMPTS = 300


def hang_up(listener: socket.socket, times: int) -> None:
    for _ in range(times):
        listener.accept()[0].close()


KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20_000}


@pytest.mark.real
def test_a_transaction_that_does_nothing_lets_its_locks_go(place: Any) -> None:
    """As of a replica that was stopped in the middle of one."""
    url = place.empty()
    waiter = open_store(url, run=inline, busy_s=60)
    idle = {"idle_in_transaction_session_timeout": "100ms"}
    stopped = connect(read_url(url), 5.0, **idle)
    stopped.cursor().execute("LOCK TABLE rollouts IN EXCLUSIVE MODE")
    asyncio.run(waiter.add(rollout(), plan(), transition(1)))  # waits for the lock that nobody gives back
    assert asyncio.run(waiter.case("ro_01")).rollout.id == "ro_01"
    stopped.close()
    waiter.close()
