"""What an engine holds of each signal, for people who write signals: its series, or the nearest names."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from rollout.core.errors import TransientError
from rollout.ports import Found
from rollout.sources.exposition import nearest
from rollout.sources.prometheus_engine import Engine
from rollout.sources.prometheus_scope import SHOWN, Owned, Scope, narrowed, written
from rollout.sources.prometheus_series import Series
from rollout.sources.prometheus_signals import PrometheusSignal

RECENT_S = 3600  # in which names are looked for

Answers = Mapping[str, Sequence[Series]]  # by the name of the metric


def look(signal: str, spec: PrometheusSignal, scope: Scope, answers: Answers) -> Found:
    """The series that make a signal, with their versions and the newest point; why there are none. Pure."""
    problems: list[str] = []
    owned: list[Owned] = []
    try:
        for selector in spec.selectors.values():
            here = scope.chosen(answers[selector.metric], selector.metric)
            chosen = narrowed(selector, here)
            if not chosen:
                problems.append(_none_fits(selector.metric, selector.where, here))
            owned += scope.owned(chosen, problems)
            _odd_versions(scope, chosen, problems)
    except TransientError as error:
        return Found(signal=signal, said=str(error))
    newest = max((one.series.times[-1] for one in owned if one.series.times), default=None)
    return Found(
        signal=signal,
        series=len({one.series.key for one in owned}),
        versions=_processes(owned),
        newest=None if newest is None else datetime.fromtimestamp(newest, UTC),
        said="; ".join(dict.fromkeys(problems)),
    )


async def with_nearest(
    found: Found, spec: PrometheusSignal, scope: Scope, answers: Answers, engine: Engine, until: float
) -> Found:
    """The same, with the nearest names where a metric has no series. Raises OutsideError."""
    missing = [one.metric for one in spec.selectors.values() if not answers[one.metric]]
    if not missing:
        return found
    begin, ours = until - RECENT_S, written("", scope.service)
    names = await engine.names("__name__", ours, begin, until)
    if names:
        near = ", ".join(nearest(missing[0], names)) or f"none of {len(names)} is like it"
        return replace(found, said=f"{found.said}; the nearest names there: {near}")
    said = [f"nothing has {ours}"]
    for label, value in scope.service.items():
        values = await engine.names(label, "", begin, until)
        near = ", ".join(nearest(value, values) or sorted(values))[:SHOWN]
        said.append(f"values of {label}: {near or 'none'}")
    return replace(found, said="; ".join([found.said, *said]))


def _none_fits(metric: str, where: Mapping[str, object], here: Sequence[Series]) -> str:
    values = {label: {one.labels.get(label, "") for one in here} for label in where}
    shown = "; ".join(f"{label}: {', '.join(sorted(some))[:SHOWN]}" for label, some in values.items())
    return f"no series of {metric} fits its 'where' yet; there are {shown}"


def _odd_versions(scope: Scope, chosen: Sequence[Series], problems: list[str]) -> None:
    known = scope.known_versions(chosen)
    if scope.versions and known and not known & scope.versions:
        problems.append(
            f"its series are of version {', '.join(sorted(known))[:SHOWN]}, and the deployer runs "
            f"{', '.join(sorted(scope.versions))[:SHOWN]}; compare the label '{scope.version_label}'"
        )


def _processes(owned: Sequence[Owned]) -> dict[str, int]:
    """How many processes there are of each version."""
    found: dict[str, set[object]] = {}
    for one in owned:
        found.setdefault(one.version, set()).add(one.process)
    return {version: len(processes) for version, processes in sorted(found.items())}
