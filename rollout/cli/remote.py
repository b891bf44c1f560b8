"""The server as the verbs see it: JSON in, JSON out, and every failure as one `Failure`."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from rollout.cli.exits import Exit, Failure, exit_of_problem
from rollout.http import blocking_client

_SHOWN = {"rollouts": "rollout status", "services": "rollout service show", "policies": "rollout policy show"}
_LISTS = {"rollouts": "rollout list", "services": "rollout service list", "policies": "rollout policy show"}

_LISTS_OF = {
    "rollout": "rollout list",
    "service": "rollout service list",
    "policy": "rollout policy show",
}
_MISSING = re.compile(r"There is no (\w+) '([^']*)'")  # as core/errors.py says it
_FOR_PROGRAMS = " Mend what `errors` names."  # people see the places themselves, below


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server said. `etag` is the row version, quoted as in HTTP, or empty."""

    body: Any
    etag: str = ""
    date: str = ""


class Remote:
    """Talks to one server with one token. Raises Failure with exit 30, 31, 32, 40 and so on."""

    def __init__(self, url: str, token: str | None, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url
        self._token = token
        self._client = blocking_client(transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, **query: Any) -> Answer:
        """Read. Arguments that are None are left out."""
        return self._ask("GET", path, params={key: v for key, v in query.items() if v is not None})

    def post(self, path: str, body: Mapping[str, Any], *, seen: str = "") -> Answer:
        """Ask for something, if it is still as `seen`; sent again, it is asked again."""
        return self._ask("POST", path, body=body, headers=_if_match(seen))

    def put(self, path: str, body: Mapping[str, Any], *, seen: str = "") -> Answer:
        """Declare something, if it is still as `seen`."""
        return self._ask("PUT", path, body=body, headers=_if_match(seen))

    def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = {"Accept": "application/json", **(headers or {})}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        try:
            answer = self._client.request(method, self.url + path, params=params, json=body, headers=sent)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise self._unreachable(method, error) from error
        found = _json(answer)
        if answer.status_code >= 400:
            raise _refused(answer, found, path, body or {})
        if not answer.is_success or found is None:
            raise self._stranger(answer)
        return Answer(body=found, etag=answer.headers.get("ETag", ""), date=answer.headers.get("Date", ""))

    def _unreachable(self, method: str, error: Exception) -> Failure:
        if isinstance(error, httpx.ReadTimeout) and method != "GET":
            doubt = " It may have recorded what you asked: look before you ask again."
            return Failure(
                f"The server at {self.url} took too long to answer.{doubt}", Exit.UNREACHABLE, "rollout list"
            )
        why = str(error) or type(error).__name__
        message = f"The server at {self.url} cannot be reached: {why}."
        return Failure(message, Exit.UNREACHABLE, "rollout doctor (or rollout serve, to start one)")

    def _stranger(self, answer: httpx.Response) -> Failure:
        message = (
            f"What answers at {self.url} is no rollout server: status {answer.status_code}, "
            f"{answer.headers.get('Content-Type', 'no content type')}. Check --url and ROLLOUT_URL."
        )
        return Failure(message, Exit.UNREACHABLE, "rollout doctor")


def _if_match(seen: str) -> dict[str, str]:
    return {"If-Match": seen} if seen else {}


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None


def _refused(answer: httpx.Response, found: Any, path: str, body: Mapping[str, Any]) -> Failure:
    problem = found if isinstance(found, dict) else {}
    code = str(problem.get("type", "")).rpartition("/")[2]
    exit_code = exit_of_problem(answer.status_code, code)
    said = str(problem.get("detail") or problem.get("title") or f"HTTP {answer.status_code} for {path}")
    missing = _MISSING.match(said) if exit_code is Exit.NOT_FOUND else None
    lines = [said.removesuffix(_FOR_PROGRAMS)]
    if missing and missing[1] == "service":
        lines.append(f"Declare it: rollout service put {missing[2]} --policy standard")
    lines += [_place(error) for error in problem.get("errors") or () if isinstance(error, dict)]
    if exit_code is Exit.UNEXPECTED and problem.get("trace_id"):
        lines.append(f"trace {problem['trace_id']}")
    if code == "version-rolled-back":
        then = _overridden(body)
    elif code == "ambiguous":
        then = "rollout list"
    elif missing and missing[1] in _LISTS_OF:
        then = _LISTS_OF[missing[1]]
    else:
        then = _next(exit_code, answer.status_code, path)
    return Failure("\n".join(lines), exit_code, then, problem or None)


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
