"""The server as the verbs see it: the typed client, whose errors become one `Failure` with its exit code."""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from rollout.cli.exits import Exit, Failure, exit_of_problem
from rollout.client import Answer, Client, ClientError, Refused, Unreachable, WaitedTooLong
from rollout.client.wire import ANSWERS_S
from rollout.ports import Clock

_SHOWN = {"rollouts": "rollout status", "services": "rollout service show", "policies": "rollout policy show"}
_LISTS = {"rollouts": "rollout list", "services": "rollout service list", "policies": "rollout policy show"}

_LISTS_OF = {
    "rollout": "rollout list",
    "service": "rollout service list",
    "policy": "rollout policy show",
}
_MISSING = re.compile(r"There is no (\w+) '([^']*)'")  # as core/errors.py says it
WITHOUT_DATABASE = "while it is gone, 'rollout emergency restore SERVICE --region R' brings a region back"
_FOR_PROGRAMS = " Mend what `errors` names."  # people see the places themselves, below


class Remote:
    """One server with one token. Raises Failure with exit 30, 31, 32, 40 and so on.

    What only looks is asked once: a person asks again. What changes something is asked again by itself.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        transport: httpx.BaseTransport | None,
        *,
        sleep: Callable[[float], None],
        clock: Clock,
        away: Callable[[Exception, float], None],
    ) -> None:
        self.url = url
        self.client = Client(url, token, transport=transport, sleep=sleep, clock=clock, away=away)

    def get(self, path: str, **query: Any) -> Answer:
        """Read. Arguments that are None are left out."""
        with failing(path):
            return self.client.wire.ask("GET", path, query=query, attempts=1)

    def post(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        seen: str = "",
        key: str | None = None,
        answers_s: float = ANSWERS_S,
    ) -> Answer:
        """Ask for something, if it is still as `seen`. Sent again with the same key, it counts once."""
        with failing(path, body):
            return self.client.wire.ask(
                "POST", path, body=body, headers=_if_match(seen), key=key, answers_s=answers_s
            )

    def put(self, path: str, body: Mapping[str, Any], *, seen: str = "") -> Answer:
        """Declare something, if it is still as `seen`."""
        with failing(path, body):
            return self.client.wire.ask("PUT", path, body=body, headers=_if_match(seen))

    def text(self, path: str, media: str) -> str:
        """Read what is no JSON."""
        with failing(path):
            return self.client.wire.text(path, media)

    def looks(self, rollout_id: str, timeout_s: float | None) -> Iterator[Any]:
        """The rollout now and at every change. Raises Failure 20 at the end of the time, 40 when away."""
        with failing(f"/v1/rollouts/{rollout_id}"):
            for answer in self.client.looks(rollout_id, timeout_s=timeout_s):
                yield answer.body

    def events(self, rollout_id: str | None, after: int | None) -> Iterator[Any]:
        """What happened after a place in the sequence (None: now), and what happens from now on, for ever."""
        with failing("/v1/events"):
            yield from self.client.raw_stream(rollout_id, after=after)


@contextmanager
def failing(path: str, body: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Make a Failure of what the client raises about `path`."""
    try:
        yield
    except Refused as error:
        raise _refused(error, path, body or {}) from error
    except WaitedTooLong as error:
        rollout_id = path.rpartition("/")[2]
        raise Failure(str(error), Exit.STILL_RUNNING, f"rollout wait {rollout_id}") from error
    except ClientError as error:
        raise Failure(str(error), Exit.UNREACHABLE, _where(error)) from error


def _where(error: ClientError) -> str:
    if not isinstance(error, Unreachable):
        return "rollout doctor"
    if error.perhaps_recorded:
        return "rollout list"
    return "rollout doctor (or rollout serve, to start one)"


def _if_match(seen: str) -> dict[str, str]:
    return {"If-Match": seen} if seen else {}


def _refused(error: Refused, path: str, body: Mapping[str, Any]) -> Failure:
    exit_code = exit_of_problem(error.status, error.type)
    said = error.detail
    missing = _MISSING.match(said) if exit_code is Exit.NOT_FOUND else None
    lines = [said.removesuffix(_FOR_PROGRAMS)]
    if missing and missing[1] == "service":
        lines.append(f"Declare it: rollout service put {missing[2]} --policy standard")
    lines += [_place(place) for place in error.places]
    if exit_code is Exit.UNEXPECTED and error.trace_id and error.trace_id not in said:
        lines.append(f"trace {error.trace_id}")
    if error.type == "version-rolled-back":
        then = _overridden(body)
    elif error.type == "store":
        then = f"rollout doctor, on the controller's machine. For the database: {WITHOUT_DATABASE}"
    elif error.type in ("ambiguous", "outcome-unknown"):
        then = "rollout list"
    elif missing and missing[1] in _LISTS_OF:
        then = _LISTS_OF[missing[1]]
    else:
        then = _next(exit_code, error.status, path)
    return Failure("\n".join(lines), exit_code, then, error.problem or None)


def _overridden(body: Mapping[str, Any]) -> str:
    """The start that was refused, as an admin may ask for it again."""
    flags = {key: value for key, value in body.items() if key not in ("service", "version", "override")}
    given = "".join(f" --{key.replace('_', '-')} {shlex.quote(str(value))}" for key, value in flags.items())
    release = f"{shlex.quote(str(body.get('service')))} {shlex.quote(str(body.get('version')))}"
    return f'rollout start {release}{given} --override "why it may start again" (an admin)'


def _place(error: Mapping[str, Any]) -> str:
    """One wrong place, without the signs by which a program tells body, query and path apart."""
    where = str(error.get("pointer") or error.get("place") or "")
    where = where.strip("{}") if where.startswith("{") else where.removeprefix("?").removeprefix("/")
    what = error.get("detail") or error.get("message") or ""
    return f"{where}: {what}" if where else str(what)


def _next(exit_code: Exit, status: int, path: str) -> str:
    """The command that shows more about what was refused."""
    parts = [*path.split("/"), "", ""]  # "", "v1", "rollouts", id, verb
    kind, name = parts[2], parts[3]
    if status == 401:
        return "rollout token create NAME --role ROLE --local (on the server's machine)"
    if exit_code is Exit.NOT_ALLOWED:
        return "rollout whoami"
    if exit_code in (Exit.UNREACHABLE, Exit.UNEXPECTED):
        return "rollout doctor"
    if kind == "rollouts" and name in ("", "plan") and status == 422:
        return f"rollout {name or 'start'} --help"
    if exit_code is not Exit.NOT_FOUND and kind in _SHOWN and name not in ("", "plan"):
        return f"{_SHOWN[kind]} {name}"
    return _LISTS.get(kind, "rollout --help")
