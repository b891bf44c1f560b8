"""From one file's document to the nouns of the model, or one InvalidInput with every problem of the file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from rollout.config.document import Document
from rollout.config.shapes import RegionsFile, RegionShape, SignalsFile, SignalShape
from rollout.core.errors import InvalidInput, Problem, did_you_mean
from rollout.core.model import Region
from rollout.core.plan import Plan, compile_plan, segments
from rollout.core.policy import Policy, SignalName
from rollout.core.signals import Signal
from rollout.explain import explain, joined
from rollout.registry import DEPLOYERS, SOURCES, Options

MAX_PROBLEMS = 50  # of one file; beyond that nobody reads on
M = TypeVar("M", bound=BaseModel)
_NO_HINTS: Mapping[str, str] = MappingProxyType({})


def policy_of(document: Document, name_hint: str) -> Policy:
    """Return the policy; `name_hint` is offered where the name is missing."""
    nameless = name_hint and "name" not in document.data
    hints = {"name": f"is missing; add 'name: {name_hint}'"} if nameless else {}
    return _validated(Policy, document, hints)


def regions_of(document: Document) -> dict[str, Region]:
    """Return regions by name, with their plugins' options checked."""
    shape = _validated(RegionsFile, document)
    _refuse(document, [*_wrong_regions(shape), *_wrong_plugins(shape), *_shared_deployers(shape)])
    return {region.name: _region(region) for region in shape.regions}


def _region(shape: RegionShape) -> Region:
    """A region with how late its source tells, where the options of that say it (`delay_s`)."""
    options = SOURCES.options(shape.source.kind, shape.source.options)
    return replace(shape.noun(), delay_s=getattr(options, "delay_s", 0.0))


def signals_of(document: Document) -> dict[str, Signal]:
    """Return signals by name, with what they say to each source checked."""
    shape = _validated(SignalsFile, document)
    signals = {name: signal.noun(name) for name, signal in shape.signals.items()}
    _refuse(document, [problem for signal in signals.values() for problem in _wrong_meanings(signal)])
    return signals


def overridden(signals: Mapping[str, Signal], written: Mapping[str, Any]) -> dict[str, Signal]:
    """`signals` with a service's own meanings in their place. Raises InvalidInput with JSON pointers."""
    if not written:
        return dict(signals)
    try:
        shapes = TypeAdapter(dict[SignalName, SignalShape]).validate_python(dict(written))
    except ValidationError as error:
        problems = list(explain(error, SignalShape, "signals"))
    else:
        own = {name: shape.noun(name) for name, shape in shapes.items()}
        problems = [problem for signal in own.values() for problem in _wrong_meanings(signal)]
        if not problems:
            return {**signals, **own}
    pointers = tuple(Problem("/" + p.place.replace(".", "/"), p.message) for p in problems)
    raise InvalidInput("The service's own signals cannot be used.", pointers)


def refuse_unfit(
    policy: Policy, document: Document, regions: Mapping[str, Region], signals: Mapping[str, Signal]
) -> None:
    """Refuse regions and signals that do not exist, and signals that a region's source cannot read."""
    try:
        plan = compile_plan(policy, regions, signals)
    except InvalidInput as error:
        raise _placed(document, error.problems) from error
    _refuse(document, [*_unreadable(policy, plan)])


def refuse_unreadable(policy: Policy, plan: Plan) -> None:
    """Refuse checks that a region's source cannot read, such as those that a service means otherwise."""
    problems = tuple(_unreadable(policy, plan))
    if problems:
        raise InvalidInput(f"Policy '{policy.name}' checks signals that cannot be read.", problems)


def _unreadable(policy: Policy, plan: Plan) -> Iterator[Problem]:
    """What only live judging needs, and not `rollout judge`: that each source can read each check."""
    kinds = {region.source.kind: region.name for region in plan.regions.values()}
    for index, check in enumerate(policy.checks):
        signal = plan.signals[next(segments(check)).signal]
        for kind, region in kinds.items():
            model = SOURCES.signal_options(kind)
            if model is None:
                continue
            if kind not in signal.sources:
                message = (
                    f"'{check.signal}' means nothing to the source '{kind}' of region {region}; "
                    f"add '{kind}:' to it in policies/signals.yaml"
                )
                yield Problem(f"checks.{index}.signal", message)
            elif check.kind is not None and (read := _read_as(model, signal, kind)) != check.kind:
                message = (
                    f"is a {check.kind}, but '{kind}' reads '{check.signal}' as a {read}; leave 'kind' out"
                )
                yield Problem(f"checks.{index}.kind", message)


def _read_as(model: type[BaseModel], signal: Signal, kind: str) -> str:
    """The kind of signal that a source reads, which its written form decides."""
    return str(getattr(model.model_validate(signal.sources[kind]), "kind", signal.kind))


def _validated(model: type[M], document: Document, hints: Mapping[str, str] = _NO_HINTS) -> M:
    """Validate a document; `hints` replaces the sentence of a place."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        problems = [Problem(p.place, hints.get(p.place, p.message)) for p in explain(error, model)]
        raise _placed(document, problems) from error


def _refuse(document: Document, problems: list[Problem]) -> None:
    if problems:
        raise _placed(document, problems)


def _placed(document: Document, problems: Sequence[Problem]) -> InvalidInput:
    placed = [document.at(problem) for problem in problems[:MAX_PROBLEMS]]
    if len(problems) > MAX_PROBLEMS:
        more = f"and {len(problems) - MAX_PROBLEMS} more wrong places; mend these first"
        placed.append(Problem(f"{document.place}:1", more))
    return InvalidInput(f"{document.place} cannot be used.", tuple(placed))


def _wrong_regions(shape: RegionsFile) -> Iterator[Problem]:
    for key in ("name", "order"):
        values = [getattr(region, key) for region in shape.regions]
        for index, value in enumerate(values):
            if value in values[:index]:
                first = values.index(value)
                message = f"'{value}' is the {key} of another region too, regions.{first}; change one"
                yield Problem(f"regions.{index}.{key}", message)
    total = sum(region.traffic_share for region in shape.regions)
    if abs(total - 1) > 0.01:
        yield Problem("regions", f"the traffic shares add up to {total:.1%} and must add up to 100 %")


def _wrong_plugins(shape: RegionsFile) -> Iterator[Problem]:
    for index, region in enumerate(shape.regions):
        for family, written in ((DEPLOYERS, region.deployer), (SOURCES, region.source)):
            try:
                family.options(written.kind, written.options, f"regions.{index}.{family.family}")
            except InvalidInput as error:
                yield from error.problems


def _shared_deployers(shape: RegionsFile) -> Iterator[Problem]:
    """Two regions whose deployers are the same, option for option, would move the same instances.

    Unless each order says its region.
    """
    seen: list[tuple[str, Options, str]] = []
    for index, region in enumerate(shape.regions):
        kind = region.deployer.kind
        try:
            options = DEPLOYERS.options(kind, region.deployer.options)
        except InvalidInput:
            continue  # _wrong_plugins says why
        if DEPLOYERS.told_region(kind) or "{region}" in str(options):
            continue  # the same words lead each region to its own place
        other = next((name for *known, name in seen if known == [kind, options]), None)
        if other:
            message = (
                f"regions {other} and {region.name} have the same deployer with the same options, and its "
                f"orders do not say the region, so '{kind}' would move the same instances for both; give "
                "each its own options, such as another directory"
            )
            yield Problem(f"regions.{index}.deployer", message)
        seen.append((kind, options, region.name))


def _wrong_meanings(signal: Signal) -> Iterator[Problem]:
    """Every key of a signal that is not ours must be a kind of source whose plugin accepts what it says."""
    for kind, written in signal.sources.items():
        place = joined("signals", signal.name, kind)
        if kind not in SOURCES.kinds:
            hint = did_you_mean(kind, {*SOURCES.kinds, *SignalShape.model_fields})
            yield Problem(place, f"unknown key '{kind}'{hint}")
        elif model := SOURCES.signal_options(kind):
            try:
                meant = getattr(model.model_validate(written), "kind", signal.kind)
            except ValidationError as error:
                yield from explain(error, model, place)
            else:
                if meant != signal.kind:
                    yield Problem(place, f"is written for a {meant}, but the signal is a {signal.kind}")
