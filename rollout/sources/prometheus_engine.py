"""One engine that speaks Prometheus's HTTP API: who asks, the limits of an answer, and what it says.

Raw points are read with a range selector in an instant query: they come with the times of their scrapes, and
neither repeated by lookback nor interpolated. Everybody who asks the same of one engine shares one request.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from weakref import WeakValueDictionary

import httpx
from pydantic import BaseModel, Field, ValidationError

from rollout.asking import (
    SAID,
    Credentials,
    HeaderValue,
    Question,
    asked,
    error_in,
    refuse_page,
    refuse_status,
)
from rollout.core.errors import TransientError
from rollout.registry import Surroundings
from rollout.sources.prometheus_series import Series

AT_ONCE = 8  # requests to one engine; Prometheus works on 20 at a time for all who ask
WHO = "Prometheus"  # as messages call it
JSON = ("application/json", "application/stream+json")  # the latter is VictoriaMetrics's
MOST_NAMES = 5000  # of metrics or of values of a label, looked through for the nearest
FEWER = "let its series be fewer by 'matchers'"


class Access(Credentials):
    """Where the engine is and how to ask it."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s?#@]+$", max_length=2000)]
    org_id: HeaderValue | None = None

    def headers(self, directory: Path) -> dict[str, str]:
        """What goes with each request. Raises PermanentError when a secret cannot be read."""
        tenant = {"X-Scope-OrgID": self.org_id} if self.org_id else {}
        return {"Accept": "application/json", **tenant, **self.authorization(WHO, directory)}


class _Raw(BaseModel):
    metric: dict[str, str]
    values: list[tuple[float, float]] = Field(default_factory=list)
    histograms: list[Any] = Field(default_factory=list)


class _Matrix(BaseModel):
    result_type: Annotated[Literal["matrix"], Field(alias="resultType")]
    result: list[_Raw]


class _Names(BaseModel):
    data: list[str]


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

    async def names(self, label: str, selector: str, begin: float, end: float) -> tuple[str, ...]:
        """The values of a label (`__name__`: of metrics) among the series of `selector`; empty: of all.

        Raises TransientError or PermanentError as `read` does.
        """
        params = {"start": f"{begin:.0f}", "end": f"{end:.0f}", "limit": str(MOST_NAMES)}
        if selector:
            params["match[]"] = selector
        async with self._slots:
            body = await self._get(f"label/{label}/values", params, self.access.timeout_s)
        try:
            return tuple(_Names.model_validate_json(body).data[:MOST_NAMES])
        except ValidationError as error:
            raise TransientError(f"{WHO} at {self.access.url} answered what is no list of names.") from error

    def _forget_failure(self, query: Query, done: asyncio.Task[tuple[Series, ...]]) -> None:
        """Only answers are kept: who asks again after a failure really asks again."""
        if (done.cancelled() or done.exception() is not None) and self._under_way.get(query) is done:
            del self._under_way[query]

    async def _body(self, query: Query, limit_s: float) -> bytes:
        asked_for = {
            "query": f"{query.selector}[{query.window_s}s]",
            "time": str(query.until),
            "timeout": f"{limit_s:g}s",  # the engine need not work on what nobody waits for
            "nocache": "1",  # VictoriaMetrics would move the time to before its latency offset
            "partial_response": "false",  # Thanos; an error is better than a part, which counts as none
            "deny_partial_response": "1",  # the same for a cluster of VictoriaMetrics
        }
        return await self._get("query", asked_for, limit_s)

    async def _get(self, path: str, params: Mapping[str, str], limit_s: float) -> bytes:
        url = f"{self.access.url.rstrip('/')}/api/v1/{path}"
        question = Question(
            who=WHO,
            url=url,
            limit_s=limit_s,
            max_bytes=self.access.max_bytes,
            mend=FEWER,
            params=params,
            headers=self.access.headers(self.directory),
        )
        response, body = await asked(self.http, question)
        reason = "" if response.status_code == 200 else _error_in(body)
        refuse_status(WHO, url, response, "token, password and org_id", reason)
        refuse_page(WHO, url, response, JSON)
        return body


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


def _error_in(body: bytes) -> str:
    try:
        return error_in(json.loads(body))
    except (ValueError, RecursionError):
        return ""


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
