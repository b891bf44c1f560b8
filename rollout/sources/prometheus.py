"""Source `prometheus`: raw series of an engine that speaks Prometheus's HTTP API, differenced by us.

Here: the options of a region, and how far each signal is read. HTTP is in prometheus_engine.py, whose series
are whose in prometheus_scope.py, and what they say in prometheus_telling.py.

Every reading takes its differences from stored points of a window that reaches back before the last reading,
so the cursor holds only until when was told, and a restart of the controller counts nothing twice.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import ceil, floor
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from rollout.asking import TooMuch
from rollout.core.errors import OutsideError, PermanentError, TransientError
from rollout.core.model import Instance
from rollout.core.signals import Sample, Signal
from rollout.forms import no_time, unread
from rollout.ports import Ask, Found, Past, Reading
from rollout.registry import SOURCES, Surroundings
from rollout.sources.prometheus_engine import Access, Query, engine_of
from rollout.sources.prometheus_found import look, with_nearest
from rollout.sources.prometheus_scope import Scope, by_address, metrics_of
from rollout.sources.prometheus_series import Series
from rollout.sources.prometheus_signals import KIND, LabelName, MetricName, PrometheusSignal, read_signal
from rollout.sources.prometheus_telling import Stretch, Told, tell

PIECE_S = 60  # longest interval of a sample: as long as a block of the judge
STRIDE_S = 300  # of one request that catches up: no engine is asked for much more than it is every time
MOST_BEHIND_S = 3600  # what is older when it could be read is past judging
WINDOW_S = 60  # windows are rounded up to it, so that readings that differ by seconds share a request
HISTORY_STRIDE_S = 7200  # of one request of history; halved where the answer is too large
CLAIM_S = 600  # for which a region is remembered to read an engine

_FIELD = re.compile(r"\{([^{}]*)\}")


def _template(value: str) -> str:
    unknown = set(_FIELD.findall(value)) - {"service", "region", "version"}
    if unknown or set("{}") & set(_FIELD.sub("", value)):
        raise ValueError(f"'{value}' may have {{service}}, {{region}} and {{version}} in braces, no more")
    if value.count("{version}") > 1:
        raise ValueError(f"'{value}' has {{version}} twice")
    return value


Template = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_template)]


class PrometheusOptions(Access):
    """How one region is read. `matchers` are the labels of a service's series there.

    `settle_s`: how long points may take to arrive. `lookback_s`: longest distance of two scrapes that
    count as neighbours. `process_labels` together name one process.
    """

    matchers: dict[LabelName, Template] = Field(
        default_factory=lambda: {"job": "{service}", "region": "{region}"}
    )
    version_label: LabelName = "version"
    process_labels: Annotated[tuple[LabelName, ...], Field(min_length=1)] = ("job", "instance")
    start_metric: MetricName = "process_start_time_seconds"
    settle_s: Annotated[float, Field(ge=0, le=3600)] = 30.0
    lookback_s: Annotated[float, Field(ge=1, le=3600)] = 300.0
    history_timeout_s: Annotated[float, Field(gt=0, le=600)] = 30.0

    @model_validator(mode="after")
    def _clear_matchers(self) -> Self:
        if not any("{service}" in value for value in self.matchers.values()):
            raise ValueError(
                "matchers: has no {service}, so the series of every service would count; "
                "add for example job: '{service}'"
            )
        if sum("{version}" in value for value in self.matchers.values()) > 1:
            raise ValueError("matchers: {version} is in two labels; one tells the version")
        return self

    @property
    def delay_s(self) -> float:
        """By how much the newest samples are late; the judge reckons with it."""
        return self.settle_s

    def version_rule(self) -> tuple[str, str]:
        """The label that tells the version, and the template of its value."""
        written = [(label, value) for label, value in self.matchers.items() if "{version}" in value]
        return written[0] if written else (self.version_label, "{version}")

    def scope(
        self, service: str, region: str, instances: Sequence[Instance] | None, told: frozenset[str] | None
    ) -> Scope:
        """What `service` in `region` means to the engine."""

        def filled(value: str) -> str:
            return value.replace("{service}", service).replace("{region}", region)

        label, rule = self.version_rule()
        before, _, behind = filled(rule).partition("{version}")
        fixed = {name: value for name, value in self.matchers.items() if "{version}" not in value}
        regional = {name: filled(value) for name, value in fixed.items() if "{region}" in value}
        return Scope(
            service={name: filled(value) for name, value in fixed.items() if name not in regional},
            region=regional,
            version_label=label,
            version=(before, behind),
            process=self.process_labels,
            lookback_s=self.lookback_s,
            versions=told,
            instances=by_address(instances or ()),
        )


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class _Place(_Stored):
    """How far one signal is told, in seconds since the epoch; `heard`: the same of each version."""

    at: float
    heard: dict[str, float] = Field(default_factory=dict)


class _Cursor(_Stored):
    signals: dict[str, _Place] = Field(default_factory=dict)


@dataclass(slots=True)
class _Progress:
    """One signal while it catches up. `failure`: it could not be asked, so it stays where it was."""

    place: _Place
    samples: list[Sample] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    failure: OutsideError | None = None

    def take(self, told: Told, until: float) -> None:
        self.samples += told.samples
        self.problems += told.problems
        recent = {v: at for v, at in told.heard.items() if at > until - MOST_BEHIND_S}
        self.place = _Place(at=until, heard=recent)


@SOURCES.register(KIND, PrometheusOptions)
class PrometheusSource:
    """Reads one region from an engine that may hold many."""

    signal_options: ClassVar[type[PrometheusSignal]] = PrometheusSignal

    def __init__(self, options: PrometheusOptions, surroundings: Surroundings) -> None:
        self._options = options
        self._engine = engine_of(options, surroundings)
        self._region = surroundings.region
        self._clock = surroundings.clock

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
        scope = self._scope(ask)
        self._refuse_shared(scope, until)
        progress = {
            signal.name: self._catch_up(signal, spec, cursor.signals.get(signal.name), until, scope)
            for signal, spec in specs
            if spec is not None
        }
        done = dict(zip(progress, await asyncio.gather(*progress.values()), strict=True))
        problems += [unread(signal, ask.region, KIND) for signal, spec in specs if spec is None]
        return _reading(cursor, done, until, problems)

    async def history(self, past: Past) -> tuple[Sample, ...]:
        """Samples of a long time, in order; see ports. Also raises InvalidInput as `collect` does."""
        scope = self._options.scope(past.service, past.region, None, None)
        settled = self._clock.now().timestamp() - self._options.settle_s
        first = floor(past.since.timestamp() / past.interval_s)
        last = floor(min(past.until.timestamp(), settled) / past.interval_s)
        edges = [place * past.interval_s for place in range(first, last + 1)]
        meant = [(signal, read_signal(signal)) for signal in past.signals]
        stretches = [
            Stretch(signal=signal, spec=spec, region=past.region, edges=edges)
            for signal, spec in meant
            if spec
        ]
        steps = max(1, floor(HISTORY_STRIDE_S / past.interval_s))
        found = await self._long(stretches, scope, edges, steps) if stretches else []
        return tuple(sorted(found, key=lambda sample: sample.time))

    async def found(self, ask: Ask) -> tuple[Found, ...]:
        """The series of each signal in the last minutes, or the nearest names; see ports."""
        specs = [(signal, read_signal(signal)) for signal in ask.signals]
        versions = frozenset(instance.version for instance in ask.instances) or None
        scope = self._options.scope(ask.service, ask.region, ask.instances, versions)
        until = floor(ask.now.timestamp())
        looks = [self._look(signal, spec, scope, until) for signal, spec in specs if spec]
        return tuple(await asyncio.gather(*looks))

    async def _look(self, signal: Signal, spec: PrometheusSignal, scope: Scope, until: float) -> Found:
        try:
            answers = await self._answers([spec], scope, until, until, self._engine.read)
            seen = await asyncio.to_thread(look, signal.name, spec, scope, answers)
            return await with_nearest(seen, spec, scope, answers, self._engine, until)
        except OutsideError as error:
            return Found(signal=signal.name, said=str(error))

    # ------------------------------------------------------------------ since the last reading

    def _scope(self, ask: Ask) -> Scope:
        versions = frozenset(instance.version for instance in ask.instances)
        return self._options.scope(ask.service, ask.region, ask.instances, versions)

    def _refuse_shared(self, scope: Scope, until: float) -> None:
        """Raise PermanentError when another region reads the same series as its own."""
        if scope.region or "{region}" in self._options.version_rule()[1]:
            return
        asked = json.dumps(sorted(scope.service.items()))
        regions = self._engine.askers.setdefault(asked, {})
        regions[self._region] = until
        others = sorted(name for name, at in regions.items() if name != self._region and until - at < CLAIM_S)
        if others:
            raise PermanentError(
                f"Regions {self._region} and {', '.join(others)} read the same series of {self._options.url} "
                "as their own. Add a label with {region} to 'matchers' of both."
            )

    async def _catch_up(
        self, signal: Signal, spec: PrometheusSignal, place: _Place | None, until: float, scope: Scope
    ) -> _Progress:
        """Read one signal until `until`, in strides; the first reading of all tells nothing yet."""
        made = _Progress(place or _Place(at=until))
        if place is not None and place.at >= until:
            return made
        behind = until - made.place.at
        if behind > MOST_BEHIND_S:
            made.problems.append(f"{behind - MOST_BEHIND_S:.0f} s of it were never read, and are too old now")
            made.place = made.place.model_copy(update={"at": until - MOST_BEHIND_S})
        loop = asyncio.get_running_loop()
        enough = loop.time() + self._options.timeout_s / 2
        while True:
            await self._stride(signal, spec, made, until, scope)
            if made.failure or made.place.at >= until or loop.time() > enough:
                break
        made.problems = [f"Signal {signal.name} in {self._region}: {said}." for said in made.problems]
        return made

    async def _stride(
        self, signal: Signal, spec: PrometheusSignal, made: _Progress, until: float, scope: Scope
    ) -> None:
        begin, heard = made.place.at, made.place.heard
        end = min(until, begin + STRIDE_S)
        edges = _edges(begin, end)
        stretch = Stretch(signal=signal, spec=spec, region=self._region, edges=edges, heard=heard)
        try:
            answers = await self._answers([spec], scope, begin, end, self._engine.read)
        except OutsideError as failure:
            made.failure = failure
            return
        try:
            made.take(await asyncio.to_thread(tell, stretch, scope, answers, self._starts(answers)), end)
        except TransientError as nothing:
            made.problems.append(str(nothing))
            made.place = _Place(at=end, heard=heard)

    # ------------------------------------------------------------------ long ago

    async def _long(
        self, stretches: Sequence[Stretch], scope: Scope, edges: Sequence[float], steps: int
    ) -> list[Sample]:
        """All edges, `steps` of them at a time, or fewer where the answer is too large."""
        specs = [stretch.spec for stretch in stretches]
        heard: dict[str, Mapping[str, float]] = {}
        found: list[Sample] = []
        at = 0
        while at < len(edges) - 1:
            part = edges[at : at + steps + 1]
            try:
                answers = await self._answers(specs, scope, part[0], part[-1], self._slowly)
            except TooMuch:
                if steps == 1:
                    raise
                steps = (steps + 1) // 2
                continue
            for whole in stretches:
                name = whole.signal.name
                stretch = replace(whole, edges=part, heard=heard.get(name, {}))
                with suppress(TransientError):  # no such series at that time: an interval without data
                    told = await asyncio.to_thread(tell, stretch, scope, answers, self._starts(answers))
                    heard[name] = told.heard
                    found += told.samples
            at += steps
        return found

    async def _slowly(self, query: Query) -> tuple[Series, ...]:
        return await self._engine.read_alone(query, self._options.history_timeout_s)

    # ------------------------------------------------------------------ one request for each metric

    async def _answers(
        self,
        specs: Iterable[PrometheusSignal],
        scope: Scope,
        begin: float,
        end: float,
        read: Callable[[Query], Awaitable[tuple[Series, ...]]],
    ) -> dict[str, tuple[Series, ...]]:
        """Every metric of these signals, with the scrapes that their first differences need."""
        metrics = sorted({self._options.start_metric}.union(*map(metrics_of, specs)))
        window = ceil((ceil(end) - begin + self._options.lookback_s) / WINDOW_S) * WINDOW_S
        queries = [
            Query(selector=_selector(metric, scope.service), until=ceil(end), window_s=window)
            for metric in metrics
        ]
        return dict(zip(metrics, await asyncio.gather(*map(read, queries)), strict=True))

    def _starts(self, answers: Mapping[str, Sequence[Series]]) -> Sequence[Series]:
        return answers[self._options.start_metric]


def _selector(metric: str, labels: Mapping[str, str]) -> str:
    """In PromQL, whose strings are escaped as those of JSON are."""
    inside = ",".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(labels.items())
    )
    return f"{metric}{{{inside}}}"


def _edges(begin: float, end: float) -> list[float]:
    """The ends of intervals of a minute at most, after `begin`; `begin` alone where no time has passed."""
    count = ceil((end - begin) / PIECE_S)
    return [begin, *(begin + PIECE_S * index for index in range(1, count)), *([end] if count else [])]


def _remembered(ask: Ask) -> tuple[_Cursor, list[str]]:
    """What was remembered; what is not ours is left behind, with a sentence."""
    try:
        return _Cursor.model_validate(dict(ask.cursor)), []
    except ValidationError:
        return _Cursor(), [f"What was remembered of {ask.region} is not of '{KIND}'; reading begins anew."]


def _reading(
    cursor: _Cursor, done: Mapping[str, _Progress], until: float, problems: Iterable[str]
) -> Reading:
    """All signals together. Raises the first failure when not one signal could be asked."""
    failures = {name: one.failure for name, one in done.items() if one.failure is not None}
    samples = tuple(sample for one in done.values() for sample in one.samples)
    if failures and len(failures) == len(done) and not samples:
        raise next(iter(failures.values()))
    recent = {name: place for name, place in cursor.signals.items() if place.at > until - MOST_BEHIND_S}
    places = {name: one.place for name, one in done.items() if one.failure is None or name in cursor.signals}
    said = [f"Signal {name} is not read this time: {failure}" for name, failure in failures.items()]
    told = [problem for one in done.values() for problem in one.problems]
    return Reading(
        samples=samples,
        cursor=_Cursor(signals={**recent, **places}).model_dump(mode="json"),
        problems=(*problems, *said, *told),
    )
