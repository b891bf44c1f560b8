"""Source `http_json`: any server that answers JSON, by a URL and paths; where no other source fits.

Here: the options of a region, what is asked, and how far each signal is told. What an answer holds is in
http_json_rows.py, and what its rows add up to in http_json_telling.py.
"""

import asyncio
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import floor
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError, model_validator

from rollout.asking import Credentials, EnvName, HeaderValue, Question, asked, refuse_page, refuse_status
from rollout.core.errors import OutsideError, PermanentError, TransientError
from rollout.core.signals import Sample, Signal, SignalKind
from rollout.forms import no_time, unread
from rollout.ports import Ask, Found, Reading
from rollout.registry import SOURCES, Surroundings
from rollout.sources.http_json_path import JsonPath
from rollout.sources.http_json_rows import Rows, document_of, rows_of
from rollout.sources.http_json_signals import (
    KIND,
    BodyTemplate,
    HttpJsonSignal,
    UrlTemplate,
    fields_in,
    filled_body,
    filled_url,
    read_signal,
)
from rollout.sources.http_json_telling import Cursor, Piece, Place, tell

WHO = "The metrics server"
PIECE_S = 60  # longest interval of a sample: as long as a block of the judge
PIECES = 5  # of one reading that catches up
MOST_BEHIND_S = 3600  # what is older when it could be read is past judging
AT_ONCE = 8  # requests of one region
JSON = ("application/json", "text/json")

HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]
Document = Any  # what json.loads gives
Questions = dict[tuple[str, str], asyncio.Task[Document]]


class HttpJsonOptions(Credentials):
    """How one region is read. `url` and `body` may name the fields of http_json_signals.FIELDS in braces.

    `settle_s`: how long numbers may take to be complete. `fail_if`: paths at which an answer says that it
    failed or is partial. `header_env`: headers whose values are in the environment.
    """

    url: UrlTemplate
    method: Literal["GET", "POST"] = "GET"
    body: BodyTemplate | None = None
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    header_env: dict[HeaderName, EnvName] = Field(default_factory=dict)
    times: Literal["s", "ms", "iso"] = "s"
    settle_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    fail_if: tuple[JsonPath, ...] = ("error", "warnings", "partial", "isPartial", "timed_out")

    @model_validator(mode="after")
    def _post_has_a_body(self) -> Self:
        if self.body and self.method == "GET":
            raise ValueError("body: a GET has none; write 'method: POST'")
        named = {name.lower() for name in (*self.headers, *self.header_env)}
        if "authorization" in named and (self.token_env or self.token_file or self.username):
            raise ValueError("headers: authorization is made from token or password already; leave one out")
        return self

    @property
    def delay_s(self) -> float:
        """By how much the newest samples are late; the judge reckons with it."""
        return self.settle_s

    def all_headers(self, directory: Path) -> dict[str, str]:
        """What goes with each request. Raises PermanentError when a secret cannot be read."""
        found = {"Accept": "application/json", **self.headers}
        if self.body:
            found.setdefault("Content-Type", "application/json")
        for name, variable in self.header_env.items():
            value = os.environ.get(variable, "").strip()
            if not value or not (value.isascii() and value.isprintable()):
                raise PermanentError(f"The header {name} needs the environment variable {variable}.")
            found[name] = value
        return found | self.authorization(WHO, directory)

    def written(self, at: float) -> str:
        """A time as the server wants it."""
        if self.times == "iso":
            return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"{at * 1000:.0f}" if self.times == "ms" else f"{at:.0f}"


@dataclass(slots=True)
class _Done:
    """One signal of one reading. `failure`: it could not be asked, so it stays where it was."""

    place: Place
    samples: list[Sample] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    failure: OutsideError | None = None


@SOURCES.register(KIND, HttpJsonOptions)
class HttpJsonSource:
    """Reads one region from a server that answers JSON."""

    signal_options: ClassVar[type[HttpJsonSignal]] = HttpJsonSignal

    def __init__(self, options: HttpJsonOptions, surroundings: Surroundings) -> None:
        self._options = options
        self._http = surroundings.http
        self._directory = surroundings.directory
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def collect(self, ask: Ask) -> Reading:
        """One reading; see ports. Also raises InvalidInput when a signal is written wrong."""
        if not ask.instances:
            raise TransientError(f"The deployer reports no instance of {ask.service} in {ask.region}.")
        specs = [(signal, read_signal(signal)) for signal in ask.signals]
        cursor, problems = _remembered(ask)
        until = floor(ask.now.timestamp() - self._options.settle_s)
        places = [cursor.signals.get(signal.name) for signal, spec in specs if spec]
        if places and all(place is not None and place.at >= until for place in places):
            return Reading(samples=(), cursor=ask.cursor, problems=(no_time(ask),))
        questions: Questions = {}
        reads = {
            signal.name: self._catch_up(ask, signal, spec, cursor.signals.get(signal.name), until, questions)
            for signal, spec in specs
            if spec
        }
        done = dict(zip(reads, await asyncio.gather(*reads.values()), strict=True))
        problems += [unread(signal, ask.region, KIND) for signal, spec in specs if spec is None]
        return _reading(cursor, done, problems)

    async def found(self, ask: Ask) -> tuple[Found, ...]:
        """What there is of each signal now; see ports."""
        specs = [(signal, read_signal(signal)) for signal in ask.signals]
        questions: Questions = {}
        until = floor(ask.now.timestamp() - self._options.settle_s)
        looks = [self._look(ask, signal, spec, until, questions) for signal, spec in specs if spec]
        return tuple(await asyncio.gather(*looks))

    # ------------------------------------------------------------------ one signal

    async def _catch_up(
        self,
        ask: Ask,
        signal: Signal,
        spec: HttpJsonSignal,
        place: Place | None,
        until: float,
        questions: Questions,
    ) -> _Done:
        """Read one signal until `until`; the first reading only remembers."""
        done = _Done(place or Place(at=until))
        if place is not None and place.at >= until:
            return done
        if until - done.place.at > MOST_BEHIND_S and not spec.counters:
            gone = until - done.place.at - MOST_BEHIND_S
            done.problems.append(f"{gone:.0f} s of it were never read, and are too old now")
            done.place = done.place.model_copy(update={"at": until - MOST_BEHIND_S})
        for end in _ends(spec, done.place.at, until, first=place is None):
            piece = Piece(
                ask=ask, signal=signal, spec=spec, begin=done.place.at, end=end, first=place is None
            )
            try:
                rows = await self._rows(piece, questions)
                told = await asyncio.to_thread(tell, piece, rows, done.place)
            except OutsideError as failure:
                done.failure = failure
                break
            done.samples += told.samples
            done.problems += told.problems
            done.place = told.place
        whose = f"Signal {signal.name} in {ask.region}"
        done.problems = [f"{whose}: {said}." for said in dict.fromkeys(done.problems)]
        return done

    async def _rows(self, piece: Piece, questions: Questions) -> Rows:
        """The rows of one signal, of one answer, or of one for each version that runs."""
        spec, template = piece.spec, self._template(piece.spec)
        _refuse_untold(piece.signal, spec, template)
        if "version" not in fields_in(template):
            return rows_of(spec, await self._document(piece, "", questions), None)
        rows = Rows()
        for version in sorted({instance.version for instance in piece.ask.instances}):
            one = rows_of(spec, await self._document(piece, version, questions), version)
            rows.found += one.found
            rows.problems += one.problems
        return rows

    def _template(self, spec: HttpJsonSignal) -> str:
        return (spec.url or self._options.url) + (spec.body or self._options.body or "")

    async def _look(
        self, ask: Ask, signal: Signal, spec: HttpJsonSignal, until: float, questions: Questions
    ) -> Found:
        piece = Piece(ask=ask, signal=signal, spec=spec, begin=until - PIECE_S, end=until, first=False)
        try:
            rows = await self._rows(piece, questions)
        except OutsideError as error:
            return Found(signal=signal.name, said=str(error))
        versions: dict[str, int] = {}
        for row in rows.found:
            versions[row.version] = versions.get(row.version, 0) + 1
        newest = max((row.at for row in rows.found if row.at is not None), default=None)
        return Found(
            signal=signal.name,
            series=len(rows.found),
            versions=versions,
            newest=None if newest is None else datetime.fromtimestamp(newest, UTC),
            said="; ".join(list(dict.fromkeys(rows.problems))[:3]),
        )

    # ------------------------------------------------------------------ one request

    async def _document(self, piece: Piece, version: str, questions: Questions) -> Document:
        """The answer to one question, asked once for all signals of this reading that want the same."""
        ask = piece.ask
        values = {
            "service": ask.service,
            "region": ask.region,
            "version": version,
            "signal": piece.signal.name,
        }
        values |= {"start": self._options.written(piece.begin), "end": self._options.written(piece.end)}
        url = filled_url(piece.spec.url or self._options.url, values)
        body = filled_body(piece.spec.body or self._options.body or "", values)
        task = questions.get((url, body))
        if task is None:
            task = questions[url, body] = asyncio.create_task(self._asked(url, body))
        return await task

    async def _asked(self, url: str, body: str) -> Document:
        options = self._options
        question = Question(
            who=WHO,
            url=url,
            method=options.method if not body else "POST",
            limit_s=options.timeout_s,
            max_bytes=options.max_bytes,
            mend="ask for less",
            headers=options.all_headers(self._directory),
            content=body.encode() if body else None,
        )
        async with self._slots:
            response, answer = await asked(self._http, question)
        refuse_status(WHO, url, response, "token, password and headers")
        refuse_page(WHO, url, response, JSON)
        try:
            return await asyncio.to_thread(document_of, answer, options.fail_if)
        except TransientError as error:
            raise TransientError(f"{WHO} at {url}: {error}.") from error


def _ends(spec: HttpJsonSignal, begin: float, until: float, *, first: bool) -> list[float]:
    """The ends of what one reading asks for. Counters and levels are as they are now, so they need one."""
    if first or spec.counters or spec.kind is SignalKind.GAUGE:
        return [until]
    inner = [begin + PIECE_S * n for n in range(1, PIECES + 1)]
    return [*(end for end in inner if end < until), *([until] if until <= inner[-1] else [])]


def _refuse_untold(signal: Signal, spec: HttpJsonSignal, template: str) -> None:
    """Raise PermanentError where nothing tells the version, or what interval the numbers are of."""
    known = fields_in(template)
    if spec.version is None and "version" not in known:
        raise PermanentError(
            f"Nothing tells the version of signal {signal.name}: write 'version:' with the path of it in a "
            "row, or {version} into url or body."
        )
    timeless = spec.counters or spec.kind is SignalKind.GAUGE or spec.time is not None
    if not timeless and not {"start", "end"} <= known:
        raise PermanentError(
            f"Nothing tells which time the numbers of signal {signal.name} are of: write {{start}} and "
            "{end} into url or body, or 'time:' with the path of it in a row, or 'counts: total'."
        )


def _remembered(ask: Ask) -> tuple[Cursor, list[str]]:
    """What was remembered; what is not ours is left behind, with a sentence."""
    try:
        return Cursor.model_validate(dict(ask.cursor)), []
    except ValidationError:
        return Cursor(), [f"What was remembered of {ask.region} is not of '{KIND}'; reading begins anew."]


def _reading(cursor: Cursor, done: Mapping[str, _Done], problems: Iterable[str]) -> Reading:
    """All signals together. Raises the first failure when not one signal could be asked."""
    failures = {name: one.failure for name, one in done.items() if one.failure is not None}
    samples = tuple(sample for one in done.values() for sample in one.samples)
    if failures and len(failures) == len(done) and not samples:
        raise next(iter(failures.values()))
    places = {name: one.place for name, one in done.items() if one.failure is None or name in cursor.signals}
    said = [f"Signal {name} is not read this time: {failure}" for name, failure in failures.items()]
    return Reading(
        samples=samples,
        cursor=Cursor(signals=places).model_dump(mode="json"),
        problems=(*problems, *said, *(problem for one in done.values() for problem in one.problems)),
    )
