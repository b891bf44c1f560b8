"""One request and its answer: who asks, the key that makes asking again safe, and when to ask again.

What must not live here: what a path means (client.py), and exit codes (rollout/cli).
"""

import json
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from rollout.client.errors import ClientError, NotOurs, Refused, Unreachable, refused
from rollout.http import blocking_client

ATTEMPTS = 5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 10.0
LONGEST_ASKED_S = 30.0  # that a server's Retry-After is followed
AWAY = frozenset({502, 503, 504})
ANSWERS_S = 10.0
_CHANCE = random.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server said. `etag` is the row version, quoted as in HTTP, or empty."""

    body: Any
    etag: str = ""
    date: str = ""
    replayed: bool = False  # the first answer to the same Idempotency-Key, given again
    unchanged: bool = False  # 304: the body is None


class Wire:
    """Talks to one server with one token. Raises ClientError; closes with `close`."""

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        transport: httpx.BaseTransport | None = None,
        attempts: int = ATTEMPTS,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = _CHANCE.random,
    ) -> None:
        self.url = url.rstrip("/")
        self._token, self._attempts, self._sleep, self._chance = token, attempts, sleep, chance
        self._http = blocking_client(ANSWERS_S, transport)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        attempts: int | None = None,
        answers_s: float = ANSWERS_S,
    ) -> Answer:
        """Ask, and ask again where that is safe. A POST carries `key`, or one of its own: it counts once.

        A PUT with If-Match is asked once: had it worked, the second would find another version.
        """
        sent = {"Accept": "application/json", **self._who(), **(headers or {})}
        if method == "POST":
            sent["Idempotency-Key"] = key or uuid.uuid4().hex
        most = 1 if method == "PUT" and "If-Match" in sent else attempts or self._attempts
        given = {name: value for name, value in (query or {}).items() if value is not None}
        for number in range(1, most + 1):
            try:
                answer = self._http.request(
                    method, self.url + path, params=given, json=body, headers=sent, timeout=answers_s
                )
                return self._understood(answer, path)
            except (httpx.TransportError, httpx.InvalidURL) as error:
                if number == most:
                    raise self._unreachable(method, error) from error
                self._sleep(self.pause_s(number))
            except Refused as error:
                if number == most or not _passes(error):
                    raise
                self._sleep(max(self.pause_s(number), _asked_s(error)))
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def stream(
        self, path: str, *, query: Mapping[str, Any], headers: Mapping[str, str], silent_s: float
    ) -> Iterator[Iterator[str]]:
        """The lines of an answer that goes on. Raises ClientError, also when it is silent for too long."""
        sent = {**self._who(), **headers}
        limits = httpx.Timeout(ANSWERS_S, read=silent_s)
        given = {name: value for name, value in query.items() if value is not None}
        try:
            with self._http.stream(
                "GET", self.url + path, params=given, headers=sent, timeout=limits
            ) as answer:
                if answer.status_code != 200:
                    answer.read()
                    self._understood(answer, path)
                if not answer.headers.get("Content-Type", "").startswith(headers["Accept"]):
                    raise self._stranger(answer)
                yield answer.iter_lines()
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise self._unreachable("GET", error) from error

    def pause_s(self, number: int) -> float:
        """How long to wait after the attempt of this number: twice as long each time, and never in step."""
        return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(number - 1, 10)) * (0.5 + self._chance() / 2)

    def text(self, path: str, media: str) -> str:
        """An answer that is no JSON, such as a report in Markdown."""
        try:
            answer = self._http.get(self.url + path, headers={**self._who(), "Accept": media})
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise self._unreachable("GET", error) from error
        if not answer.headers.get("Content-Type", "").startswith(media):
            self._understood(answer, path)
            raise self._stranger(answer)
        return answer.text

    def _who(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def _understood(self, answer: httpx.Response, path: str) -> Answer:
        seen = {"etag": answer.headers.get("ETag", ""), "date": answer.headers.get("Date", "")}
        if answer.status_code == 304:
            return Answer(body=None, unchanged=True, **seen)
        found = _json(answer)
        if answer.status_code >= 400:
            problem = dict(found) if isinstance(found, dict) else {}
            error = refused(answer.status_code, problem, path)
            error.retry_after = answer.headers.get("Retry-After", "")
            raise error
        if not answer.is_success or found is None:
            raise self._stranger(answer)
        replayed = answer.headers.get("Idempotency-Replayed", "").lower() == "true"
        return Answer(body=found, replayed=replayed, **seen)

    def _unreachable(self, method: str, error: Exception) -> ClientError:
        if isinstance(error, httpx.ReadTimeout) and method != "GET":
            doubt = " It may have recorded what you asked: look before you ask again."
            message = f"The server at {self.url} took too long to answer.{doubt}"
            return Unreachable(message, perhaps_recorded=True)
        why = str(error) or type(error).__name__
        return Unreachable(f"The server at {self.url} cannot be reached: {why}.")

    def _stranger(self, answer: httpx.Response) -> NotOurs:
        return NotOurs(
            f"What answers at {self.url} is no rollout server: status {answer.status_code}, "
            f"{answer.headers.get('Content-Type', 'no content type')}. Check --url and ROLLOUT_URL."
        )


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None


def _passes(error: Refused) -> bool:
    """Whether the same request may be answered soon: the server is away or busy, or still at work on it."""
    if error.status in AWAY:
        return error.type != "outside"  # a deployer or source failed; the server itself is there
    return error.status == 429 or (error.status == 409 and bool(error.retry_after))


def _asked_s(error: Refused) -> float:
    try:
        return min(float(error.retry_after), LONGEST_ASKED_S)
    except ValueError:
        return 0.0
