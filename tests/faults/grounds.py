"""Where each case takes place: a world of its own on the database that it needs."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults import disks
from tests.faults.asking import AsksPostgres, asks_sqlite
from tests.faults.databases import Servers, disk_full
from tests.faults.figures import Figures
from tests.faults.processes import free_port
from tests.faults.world import World, world
from tests.store import postgres_lab
from tests.store.places import postgres_template


@dataclass(frozen=True)
class Ground:
    """Two replicas that know two servers, of which one runs."""

    world: World
    ask: AsksPostgres
    servers: Servers


@contextmanager
def on_postgres() -> Iterator[Ground]:
    """A ground of its own; everything on it ends with it."""
    with ExitStack() as stack:
        server = stack.enter_context(postgres_lab.server())
        name = server.database(postgres_template(server))
        servers = Servers(server, free_port())
        stack.callback(servers.stop)
        ask = stack.enter_context(closing(AsksPostgres(server, name)))
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rollout-faults-")))
        both = f"127.0.0.1:{server.port},127.0.0.1:{servers.other}"
        url = server.tcp(name).replace(f"127.0.0.1:{server.port}", both) + "?target_session_attrs=read-write"
        yield Ground(stack.enter_context(world(place, url, ask)), ask, servers)


def full_disk(cycles: int, *, mounted: bool) -> Figures:
    """One controller on a file, whose disk is small. Raises NoMount where it cannot be mounted."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rollout-faults-")))
        data = place / "a"
        if mounted:
            stack.enter_context(disks.small_disk(data))
        file = data / "rollout.db"
        made = stack.enter_context(world(place, f"sqlite:///{file}", asks_sqlite(file), names=("a",)))
        if mounted:
            full, empty = partial(disks.fill, data), partial(disks.free, data)
        else:
            full, empty = disks.bound(lambda: made.replica("a").pid, file)
        figures = made.conclude(disk_full(made, full, empty, cycles))
        figures.case += ", tmpfs" if mounted else ", bound on files"
        return figures
