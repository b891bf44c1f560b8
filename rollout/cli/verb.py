"""Makes a typer command of `function(session, …)`: shared flags, errors to exit codes, Ctrl-C to 130."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from rollout.cli.exits import Exit, Failure, exit_of_error
from rollout.cli.session import Session, World
from rollout.core.errors import InvalidInput, RolloutError, StoreError

P = ParamSpec("P")
_NEXT = {
    Exit.NOT_FOUND: "rollout list",
    Exit.NOT_ALLOWED: "rollout whoami",
    Exit.CHANGED: "rollout status",
}


def _shared(
    ctx: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
    url: Annotated[str | None, typer.Option(help="The server; else ROLLOUT_URL.", metavar="URL")] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the token; else ROLLOUT_TOKEN or ROLLOUT_TOKEN_FILE.", metavar="FILE"),
    ] = None,
) -> None:
    """The flags that every verb has."""


_SHARED = inspect.signature(_shared).parameters


def verb(function: Callable[Concatenate[Session, P], Exit | None]) -> Callable[..., None]:
    """Wrap a verb for typer; what it returns is the exit code, None is 0."""
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    parameters = [
        *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in _SHARED.values()),
        *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own),
    ]

    def run(**given: Any) -> None:
        context = given.pop("ctx")
        world = context.obj if isinstance(context.obj, World) else World()
        flags = {name: given.pop(name) for name in ("json", "url", "token_file")}
        session = Session(world, **flags)
        code = attempt(session, lambda: function(session, **given), context.command_path)  # type: ignore[call-arg]  # P is what typer parsed
        if code:
            raise typer.Exit(int(code))

    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def attempt(session: Session, work: Callable[[], Exit | None], command: str) -> Exit:
    """Do `work`; every expected error is said in words with the next command, and becomes its exit code."""
    try:
        return work() or Exit.SUCCEEDED
    except Failure as failure:
        return session.fail(failure)
    except RolloutError as error:
        code = exit_of_error(error)
        return session.fail(Failure(str(error), code, _next(error, code, command)))
    except KeyboardInterrupt:
        session.say("Stopped by Ctrl-C. What the server was asked for goes on: rollout list")
        return Exit.INTERRUPTED


def _next(error: RolloutError, code: Exit, command: str) -> str:
    """What to do about an error of this machine; a wrong file or setting is named by the error itself."""
    if isinstance(error, StoreError):
        return "rollout doctor"
    if isinstance(error, InvalidInput):
        return f"mend what is named, then again: {command}"
    return _NEXT.get(code, f"{command} --help")
