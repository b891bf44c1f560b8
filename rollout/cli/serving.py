"""Verbs that run something here: serve, demo and doctor. What only they need is imported when they run."""

import asyncio
import errno
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import uvicorn
from rich.text import Text

from rollout.cli.exits import Exit, Failure
from rollout.cli.logs import configure
from rollout.cli.session import Session
from rollout.settings import Settings, load_settings

if TYPE_CHECKING:
    from rollout.bootstrap import Controller

STOP_WITHIN_S = 5  # for requests under way, when the server is asked to stop
_HAS_TOKENS = (
    "The database has tokens already, so no admin token was written here. Log in with one that you have, "
    "such as the one in admin-token of the replica that was first; or make one on this machine: "
    "rollout token create NAME --role admin --local."
)


def serve(
    session: Session,
    host: Annotated[str | None, typer.Option(help="Address; else ROLLOUT_HOST.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = None,
    config: Annotated[Path | None, typer.Option(help="Directory with regions.yaml and policies/.")] = None,
    data: Annotated[Path | None, typer.Option(help="Directory for the database.")] = None,
    show_token: Annotated[
        bool, typer.Option("--show-token", help="Print the first admin token, on a terminal only.")
    ] = False,
) -> Exit | None:
    """Run the controller with its API and page until SIGTERM or Ctrl-C."""
    settings = load_settings(url=session.settings.url or None, host=host, port=port, config=config, data=data)
    configure(session.world.err, level=logging.INFO, form=settings.log_format)
    listening = _listen(settings.host, settings.port)
    settings = settings.model_copy(update={"port": listening.getsockname()[1]})
    with listening:
        return asyncio.run(_serve(session, settings, listening, show_token))


def demo(
    session: Session,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Lines only, without redrawing.")] = False,
) -> Exit | None:
    """Play a good and a harmful release in three regions on this machine."""
    from rollout.demo.story import main  # noqa: PLC0415  # only this verb needs the demo

    return Exit(main(keep=keep, plain=plain or not session.out.is_terminal) or 0)


def doctor(session: Session) -> Exit | None:
    """Check configuration, regions, database, clock, server and token; says what mends each failure."""
    from rollout.cli.doctor import examine  # noqa: PLC0415  # the database's library is slow to import

    return examine(session)


async def _serve(
    session: Session, settings: Settings, listening: socket.socket, show_token: bool
) -> Exit | None:
    from api.app import create_app  # noqa: PLC0415  # the web framework is slow to import, and only serve needs it
    from rollout.bootstrap import controller  # noqa: PLC0415  # as above

    async with controller(settings) as built:
        secret_file = await _first_token(session, built, show_token)
        app = create_app(built, run_heartbeat=True)
        server = _Server(
            uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=STOP_WITHIN_S),
            lambda: _announce(session, settings, secret_file),
            built.tail.close,
        )
        asked = _stop_on_signals(server)
        await server.serve(sockets=[listening])
        if not server.started:
            raise Failure("The server did not start; its log says why.", Exit.UNEXPECTED, "rollout doctor")
    session.say("Stopped. Rollouts stand where they are and go on at the next start: rollout serve")
    return Exit.INTERRUPTED if signal.SIGINT in asked else None


async def _first_token(session: Session, built: "Controller", show_token: bool) -> Path | None:
    """Create the first admin token at the first start, and say where it is, never what it is.

    None where this directory has none: the database had tokens before.
    """
    file = built.settings.data / "admin-token"
    if await built.access.first_admin(file):
        session.say(f"First start: the admin token is in {file}; only this user can read it.")
    if not file.is_file():
        return None
    if show_token and not session.out.is_terminal:
        session.say(f"--show-token prints only to a terminal. The token is in {file}.")
    elif show_token:
        session.say(file.read_text(encoding="utf-8").strip())
    return file


def _announce(session: Session, settings: Settings, secret_file: Path | None) -> None:
    """Say where the server is, once it listens, and how to log in."""
    local = settings.model_copy(update={"url": ""}).public_url
    told = {"url": local, "port": settings.port, "token_file": str(secret_file) if secret_file else None}
    session.show(told, lambda seen: Text(seen["url"]))
    session.world.out.flush()
    if not session.json:
        login = f"Log in with the token in {secret_file}." if secret_file else _HAS_TOKENS
        session.say(f"{login} From another terminal: ROLLOUT_URL={local} rollout list")


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before anything else is opened. Raises Failure in one sentence."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            message = f"Port {port} of {host} is taken by another program, or by a server that runs already."
            raise Failure(message, Exit.USAGE, "rollout serve --port 0 (takes a free port)") from error
        message = f"{host}:{port} cannot be listened on: {error.strerror or error}."
        raise Failure(message, Exit.USAGE, "rollout serve --port 0") from error


class _Server(uvicorn.Server):
    """Says when it listens and when it stops, and leaves signals to us, so that all is closed in order."""

    def __init__(
        self, config: uvicorn.Config, listening: Callable[[], None], stopping: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._listening, self._stopping = listening, stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()  # streams end now; else they would be waited for
        await super().shutdown(sockets=sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _stop_on_signals(server: uvicorn.Server) -> list[signal.Signals]:
    """Stop in order at the first SIGTERM or SIGINT, at once at the second. Returns those that came."""
    came: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        came.append(number)
        server.force_exit = server.should_exit
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    return came
