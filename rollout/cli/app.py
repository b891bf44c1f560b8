"""The verbs by name, and `main`, the entry point."""

import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import typer

from rollout.cli import (
    access,
    configuring,
    database,
    deciding,
    drafting,
    emergency,
    events,
    judging,
    policies,
    reading,
    reporting,
    services,
    serving,
    starting,
    waiting,
    watching,
)
from rollout.cli.exits import Exit, Failure
from rollout.cli.logs import configure
from rollout.cli.session import Session, World
from rollout.cli.verb import verb

Verbs = dict[str, Callable[..., Exit | None]]
_PANELS: dict[str, Verbs] = {
    "Look": {
        "list": reading.list_rollouts,
        "status": reading.status,
        "watch": watching.watch,
        "wait": waiting.wait,
        "why": reading.why,
        "events": events.events,
        "report": reporting.report,
        "plan": starting.plan,
        "judge": judging.judge,
        "backtest": judging.backtest,
    },
    "Move": {
        "start": starting.start,
        "approve": deciding.approve,
        "reject": deciding.reject,
        "hold": deciding.hold,
        "resume": deciding.resume,
        "promote": deciding.promote,
        "rollback": deciding.rollback,
        "cancel": deciding.cancel,
        "retry": deciding.retry,
        "note": deciding.note,
        "gate": deciding.gate,
        "adopt": services.adopt,
    },
    "Run": {
        "serve": serving.serve,
        "demo": serving.demo,
        "doctor": serving.doctor,
        "replicas": reading.replicas,
        "whoami": access.whoami,
        "version": access.version,
    },
}
_GROUPS: dict[str, tuple[str, Verbs]] = {
    "service": (
        "Declare services and see what runs.",
        {"put": services.put, "list": services.list_services, "show": services.show},
    ),
    "policy": (
        "Begin, check and show policies.",
        {
            "init": drafting.init,
            "validate": policies.validate,
            "show": policies.show,
            "schema": policies.schema,
        },
    ),
    "config": ("What this machine is set to.", {"show": configuring.show}),
    "token": ("Who may do what.", {"create": access.create_token}),
    "emergency": (
        "When the database is gone.",
        {"show": emergency.show, "restore": emergency.restore},
    ),
    "db": (
        "The database of this machine.",
        {
            "upgrade": access.upgrade_database,
            "backup": database.backup,
            "verify": database.verify,
            "restore": database.restore,
        },
    ),
}
_SETTINGS: dict[str, Any] = {"add_completion": True, "pretty_exceptions_enable": False}


@cache
def build() -> typer.Typer:
    """Build the command with every verb, once."""
    app = typer.Typer(
        name="rollout",
        help="Moves a release region by region, judges it, and rolls back by itself.",
        epilog="Exit codes and examples: docs/cli.md",
        **_SETTINGS,
    )
    for panel, verbs in _PANELS.items():
        for name, function in verbs.items():
            app.command(name, rich_help_panel=panel)(verb(function))
    for group, (about, verbs) in _GROUPS.items():
        inner = typer.Typer(help=about, **_SETTINGS)
        for name, function in verbs.items():
            inner.command(name)(verb(function))
        app.add_typer(inner, name=group)
    return app


def main(argv: Sequence[str] | None = None, world: World | None = None) -> int:
    """Run one verb and return its exit code. `world` is replaced by tests."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if world is None:
        _survive_any_encoding()
        world = World()
    configure(world.err)
    foreign = next((text for text in arguments if not _is_text(text)), None)
    if foreign is not None:
        return int(Session(world).fail(Failure(_not_text(foreign), Exit.USAGE, "write it in UTF-8")))
    try:
        command = typer.main.get_command(build())
        code = command.main(arguments or ["--help"], "rollout", standalone_mode=False, obj=world)
        world.out.flush()
        return int(code or 0)
    except typer.TyperException as error:
        return _misused(world, error)
    except typer.Abort:
        return Exit.INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.UNEXPECTED
    except Exception as error:  # the last resort: a fault of this program
        traceback.print_exc(file=world.err)
        return _said(world, f"This is a fault of rollout: {type(error).__name__}: {error}", "rollout doctor")


def _misused(world: World, error: typer.TyperException) -> int:
    """Say what was wrong on the command line, and which help to read."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "rollout"
    failure = Failure(error.format_message(), Exit.USAGE, f"{path} --help")
    return int(Session(world).fail(failure))


def _said(world: World, message: str, then: str) -> int:
    return int(Session(world).fail(Failure(message, Exit.UNEXPECTED, then)))


def _is_text(text: str) -> bool:
    """Whether it was UTF-8; bytes that were not arrive as lone surrogates."""
    return not any("\udc80" <= character <= "\udcff" for character in text)


def _not_text(argument: str) -> str:
    shown = argument.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return f"The argument '{shown}' is not UTF-8; nothing was sent."


def _survive_any_encoding() -> None:
    """A terminal that knows no ✔ gets a question mark instead of a crash."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
