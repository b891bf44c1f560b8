"""One engine that speaks Prometheus's HTTP API: who asks, the limits of an answer, and what it says.

Raw points are read with a range selector in an instant query: they come with the times of their scrapes, and
neither repeated by lookback nor interpolated. Everybody who asks the same of one engine shares one request.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from weakref import WeakValueDictionary

import httpx
from pydantic import BaseModel, Field, ValidationError, model_validator

from rollout.core.errors import OutsideError, PermanentError, TransientError
from rollout.registry import Options, Surroundings
from rollout.sources.prometheus_series import Series

AT_ONCE = 8  # requests to one engine; Prometheus works on 20 at a time for all who ask
TRY_AGAIN = {408, 425, 429}  # of the answers below 500
SAID = 200  # characters of what an engine says that are passed on

EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
HeaderValue = Annotated[str, Field(pattern=r"^[!-~]+( [!-~]+)*$", max_length=500)]


class TooMuch(TransientError):
    """The answer is larger than `max_bytes`; a shorter stretch of time may fit."""


class Access(Options):
    """Where the engine is and how to ask it. Secrets are named, not written: a variable or a file."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s?#@]+$", max_length=2000)]
    token_env: EnvName | None = None
    token_file: str | None = None
    username: HeaderValue | None = None
    password_env: EnvName | None = None
    password_file: str | None = None
    org_id: HeaderValue | None = None
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 4.0
    max_bytes: Annotated[int, Field(ge=1024, le=256_000_000)] = 10_000_000

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        tokens = [name for name in ("token_env", "token_file") if getattr(self, name)]
        passwords = [name for name in ("password_env", "password_file") if getattr(self, name)]
        if len(tokens + passwords) > 1:
            raise ValueError(f"says {' and '.join(tokens + passwords)}; one secret is enough")
        if bool(self.username) != bool(passwords):
            raise ValueError("basic auth needs username and one of password_env, password_file")
        return self

    def headers(self, directory: Path) -> dict[str, str]:
        """What goes with each request. Raises PermanentError when a secret cannot be read.

        Files are read each time, since those who rotate a secret write a new one.
        """
        found = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if self.org_id:
            found["X-Scope-OrgID"] = self.org_id
        if self.token_env or self.token_file:
            found["Authorization"] = f"Bearer {_secret(self.token_env, self.token_file, directory)}"
        elif self.username:
            password = _secret(self.password_env, self.password_file, directory)
            request = httpx.Request("GET", self.url)
            next(httpx.BasicAuth(self.username, password).auth_flow(request))
            found["Authorization"] = request.headers["Authorization"]
        return found


class _Raw(BaseModel):
    metric: dict[str, str]
    values: list[tuple[float, float]] = Field(default_factory=list)
    histograms: list[Any] = Field(default_factory=list)


class _Matrix(BaseModel):
    result_type: Annotated[Literal["matrix"], Field(alias="resultType")]
    result: list[_Raw]


class _Answer(BaseModel):
    status: Literal["success", "error"]
    data: _Matrix | None = None
    error_type: Annotated[str, Field(alias="errorType")] = ""
    error: str = ""
    warnings: list[str] | None = None
    infos: list[str] | None = None
    partial: Annotated[bool, Field(alias="isPartial")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """All points of `selector` in the `window_s` seconds that end at `until`, seconds since the epoch."""

    selector: str
    until: int
    window_s: int


@dataclass(slots=True, kw_only=True, weakref_slot=True, eq=False)
class Engine:
    """One engine, asked with one set of credentials."""

    access: Access
    directory: Path
    http: httpx.AsyncClient
    askers: dict[str, dict[str, float]] = field(default_factory=dict)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _under_way: dict[Query, asyncio.Task[tuple[Series, ...]]] = field(default_factory=dict)

    async def read(self, query: Query) -> tuple[Series, ...]:
        """The answer, asked once for all who want the same of the same time.

        Raises TransientError or PermanentError with a sentence; TooMuch for an answer that is too large.
        """
        task = self._under_way.get(query)
        if task is None:
            old = [key for key, done in self._under_way.items() if key.until < query.until and done.done()]
            for key in old:
                del self._under_way[key]
            task = self._under_way[query] = asyncio.create_task(self.read_alone(query))
            task.add_done_callback(lambda done: self._forget_failure(query, done))
        return await asyncio.shield(task)  # one that waits no longer leaves it to the others

    async def read_alone(self, query: Query, timeout_s: float | None = None) -> tuple[Series, ...]:
        """The same, kept for nobody else; `timeout_s` takes the place of the option."""
        limit_s = timeout_s or self.access.timeout_s
        async with self._slots:
            body = await self._body(query, limit_s)
        return await asyncio.to_thread(_series, body, self.access.url)

    def _forget_failure(self, query: Query, done: asyncio.Task[tuple[Series, ...]]) -> None:
        """Only answers are kept: who asks again after a failure really asks again."""
        if (done.cancelled() or done.exception() is not None) and self._under_way.get(query) is done:
            del self._under_way[query]

    async def _body(self, query: Query, limit_s: float) -> bytes:
        url = f"{self.access.url.rstrip('/')}/api/v1/query"
        asked = {
            "query": f"{query.selector}[{query.window_s}s]",
            "time": str(query.until),
            "timeout": f"{limit_s:g}s",  # the engine need not work on what nobody waits for
            "nocache": "1",  # VictoriaMetrics would move the time to before its latency offset
        }
        headers = self.access.headers(self.directory)
        try:
            async with (
                asyncio.timeout(limit_s),  # of the whole answer; httpx limits only each single wait
                self.http.stream("GET", url, params=asked, headers=headers, timeout=limit_s) as response,
            ):
                _refuse_compressed(response, url)
                body = await self._limited(response)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise TransientError(f"Prometheus did not answer {url} within {limit_s:g} s.") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            cause = str(error) or type(error).__name__
            raise TransientError(f"Prometheus could not be asked at {url}: {cause[:SAID]}.") from error
        _refuse_head(response, body, url)
        return body

    async def _limited(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > self.access.max_bytes:
                raise TooMuch(
                    f"Prometheus answered more than {self.access.max_bytes} bytes; "
                    "let its series be fewer by 'matchers', or raise max_bytes."
                )
        return bytes(body)


_ENGINES: WeakValueDictionary[tuple[int, str, Path], Engine] = WeakValueDictionary()


def engine_of(access: Access, around: Surroundings) -> Engine:
    """The one engine of this address, credentials and HTTP client, so that regions share its answers."""
    asked = access.model_dump_json(include=set(Access.model_fields))
    key = (id(around.http), asked, around.directory)  # an engine keeps its client, so no other has its id
    engine = _ENGINES.get(key)
    if engine is None:
        engine = Engine(access=access, directory=around.directory, http=around.http)
        _ENGINES[key] = engine
    return engine


def _secret(env: str | None, file: str | None, directory: Path) -> str:
    if env is not None:
        place, secret = f"the environment variable {env}", os.environ.get(env, "")
    else:
        assert file is not None, "a secret is named in one of two ways"
        place = f"the file {file}"
        try:
            secret = (directory / file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PermanentError(f"The secret for Prometheus is not readable in {place}: {error}.") from error
    if not (secret := secret.strip()):
        raise PermanentError(f"The secret for Prometheus is empty: set {place}.")
    if not (secret.isascii() and secret.isprintable()):
        raise PermanentError(f"The secret for Prometheus in {place} has characters that no header may have.")
    return secret


def _refuse_compressed(response: httpx.Response, url: str) -> None:
    """A few bytes could become gigabytes, before anybody counts them."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise TransientError(f"Prometheus at {url} answered compressed content, which was not asked for.")


def _refuse_head(response: httpx.Response, body: bytes, url: str) -> None:
    status = response.status_code
    if status in (401, 403):
        raise PermanentError(
            f"Prometheus at {url} refused with HTTP {status}; check token, password and org_id here."
        )
    if 300 <= status < 400:
        place = response.headers.get("location", "nowhere")
        raise PermanentError(f"Prometheus at {url} redirects to {place[:SAID]}; write that address as url.")
    if status == 200:
        _refuse_page(response, url)
        return
    said = _error_in(body) or "no reason was given"
    again = status >= 500 or status in TRY_AGAIN
    found: type[OutsideError] = TransientError if again else PermanentError
    raise found(f"Prometheus at {url} answered HTTP {status}: {said}.")


def _refuse_page(response: httpx.Response, url: str) -> None:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/json", "application/stream+json"):  # the latter is VictoriaMetrics's
        raise TransientError(
            f"Prometheus at {url} answered {kind[:80] or 'no content type'} instead of application/json; "
            "check that url is the address of its API."
        )


def _error_in(body: bytes) -> str:
    """What an error answer says of itself; a page of a proxy says nothing here."""
    try:
        written = json.loads(body)
    except ValueError:
        return ""
    said = written.get("error") if isinstance(written, Mapping) else None
    return str(said)[:SAID].rstrip(".") if said else ""


def _series(body: bytes, url: str) -> tuple[Series, ...]:
    """Read one whole answer. Raises TransientError for one that is broken, an error, or partial."""
    try:
        answer = _Answer.model_validate_json(body)
    except ValidationError as error:
        detail = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, detail["loc"])) or "its text"
        raise TransientError(
            f"Prometheus at {url} answered what is no query result: {place}: {detail['msg'][:SAID]}."
        ) from error
    if answer.status == "error" or answer.data is None:
        said = ": ".join(part for part in (answer.error_type, answer.error) if part) or "no data"
        raise TransientError(f"Prometheus at {url} could not answer: {said[:SAID].rstrip('.')}.")
    _refuse_partial(answer, url)
    return tuple(_one(raw, url) for raw in answer.data.result)


def _refuse_partial(answer: _Answer, url: str) -> None:
    """A part of the truth is no data: what is missing might be all the failures."""
    warned = [*(answer.warnings or ()), *(answer.infos or ())]
    if warned:
        raise TransientError(
            f"Prometheus at {url} warned ({len(warned)}×) that its answer may be partial, so it counts as no "
            f"data: {warned[0][:SAID].rstrip('.')}."
        )
    if answer.partial:
        raise TransientError(f"The answer of {url} is partial by its own word, so it counts as no data.")


def _one(raw: _Raw, url: str) -> Series:
    if raw.histograms:
        name = raw.metric.get("__name__", "a metric")
        raise TransientError(
            f"Prometheus at {url} keeps {name[:80]} as a native histogram, which is not read; "
            "let it keep classic buckets too."
        )
    return Series(
        labels=raw.metric,
        times=[time for time, _ in raw.values],
        values=[value for _, value in raw.values],
    )
