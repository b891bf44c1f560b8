"""One run of the CLI against a server that answers from a table: no network, no clock, no terminal."""

import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout.cli import main
from rollout.cli.session import World
from rollout.testing import ManualClock
from tests.cli.views import T0

Answer = Any  # JSON, an httpx.Response, or an exception to raise


class Screen(io.StringIO):
    """A stream that says whether somebody watches."""

    def __init__(self, watched: bool = False) -> None:
        super().__init__()
        self._watched = watched

    def isatty(self) -> bool:
        return self._watched


@dataclass
class StandIn:
    """Answers `METHOD path`; a list is used up one by one, its last entry stays. Keeps what was asked."""

    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        key = f"{request.method} {request.url.path}"
        answer = self.answers.get(key)
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, httpx.Response):
            return answer
        if answer is None:
            return problem(404, "not-found", f"There is no {key}.")
        etag = {"ETag": f'"{answer["row_version"]}"'} if "row_version" in answer else {}
        return httpx.Response(200, json=answer, headers=etag)

    def body(self, index: int = -1) -> Any:
        return json.loads(self.asked[index].content)


def problem(
    status: int, code: str, detail: str, errors: list[dict[str, str]] | None = None
) -> httpx.Response:
    body = {"type": f"/problems/{code}", "title": "t", "status": status, "detail": detail}
    return httpx.Response(status, json=body | {"errors": errors or [], "trace_id": "abc"})


@dataclass
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def server() -> StandIn:
    return StandIn()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(T0)


@pytest.fixture(autouse=True)
def _clean_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ROLLOUT_URL", "ROLLOUT_TOKEN", "ROLLOUT_TOKEN_FILE", "ROLLOUT_DATABASE_URL", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.startswith(("GITHUB_", "CI_"))]:
        monkeypatch.delenv(name)  # these tests may run in a pipeline themselves
    monkeypatch.setenv("ROLLOUT_DATA", str(tmp_path))
    monkeypatch.setenv("ROLLOUT_CONFIG", str(Path(__file__).parents[2]))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def run(server: StandIn, clock: ManualClock) -> Iterator[Callable[..., Ran]]:
    """`run("status", "x", tty=True)` → exit code, stdout, stderr."""

    def go(
        *argv: str, tty: bool = False, answer: str = "", sleep: Callable[[float], Any] | None = None
    ) -> Ran:
        out, err = Screen(tty), Screen(tty)
        world = World(
            out=out,
            err=err,
            input=Screen(tty),
            transport=httpx.MockTransport(server),
            clock=clock,
            sleep=sleep or clock.advance,
            prompt=lambda _text: answer,
        )
        code = main(argv, world)
        return Ran(code, out.getvalue(), err.getvalue())

    return go
