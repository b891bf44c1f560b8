"""One answer becomes rows of numbers: whose they are, of when, and how much. Pure.

What is no number, or is stated twice, is no evidence: its row does not count, and a sentence says why.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rollout.core.errors import TransientError
from rollout.sources.exposition import LARGEST
from rollout.sources.http_json_path import named, nodes
from rollout.sources.http_json_signals import HttpJsonSignal

MILLISECONDS = 1e11  # a time beyond it is in milliseconds: in seconds it would be after the year 5000
MOST_EDGES = 64  # of one distribution, as of the source `scrape`
SHOWN = 80

_NUMBER = re.compile(r"-?\d{1,40}(\.\d{1,40})?([eE][+-]?\d{1,3})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Numbers by slot; of a distribution, by edge. `at` and `started` are seconds since the epoch."""

    version: str
    instance: str
    numbers: Mapping[str, float]
    at: float | None = None
    started: float | None = None


@dataclass(slots=True)
class Rows:
    """The rows of one answer, and a sentence about each that does not count."""

    found: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def document_of(body: bytes, fail_if: tuple[str, ...]) -> Any:
    """The JSON of an answer. Raises TransientError when it is none, or says that it failed or is partial."""
    try:
        document = json.loads(body.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise TransientError(f"what was answered is no JSON: {str(error)[:SHOWN]}") from error
    for path in fail_if:
        said = next((node for node in nodes(path, document) if node), None)
        if said is not None:
            raise TransientError(
                f"the answer says {path}: {json.dumps(said)[:SHOWN]}, so it counts as no data"
            )
    return document


def rows_of(spec: HttpJsonSignal, document: Any, version: str | None) -> Rows:
    """The rows of a signal; `version` is whose they are where that was asked for. Raises TransientError."""
    written = nodes(spec.rows, document)
    if not written:
        listed = nodes(spec.rows.removesuffix("[*]") or "$", document)
        if spec.rows.endswith("[*]") and listed and listed[0] == []:
            raise TransientError(f"the list at {spec.rows} is empty")
        raise TransientError(f"nothing is at {spec.rows}; the answer has: {named(document)}")
    rows = Rows()
    for node in written:
        try:
            rows.found.append(_row(spec, node, version))
        except TransientError as error:
            rows.problems.append(str(error))
    return _without_doubles(rows)


def _row(spec: HttpJsonSignal, node: Any, version: str | None) -> Row:
    own = version or _text(spec.version or "$", node)
    numbers = _buckets(spec.buckets, node) if spec.buckets else _numbers(spec, node)
    return Row(
        version=own,
        instance=_text(spec.instance, node) if spec.instance else "",
        numbers=numbers,
        at=_time(spec.time, node) if spec.time else None,
        started=_time(spec.started, node) if spec.started else None,
    )


def _numbers(spec: HttpJsonSignal, node: Any) -> dict[str, float]:
    found = {slot: _sum(path, node) for slot, path in spec.slots.items()}
    below = [slot for slot, value in found.items() if value < 0 and slot != "value"]
    if below:
        raise TransientError(f"{below[0]} is {found[below[0]]:g}, and counts are not negative")
    if found.get("bad", 0) > found.get("total", math.inf):
        raise TransientError(f"bad is {found['bad']:g} of a total of {found['total']:g}")
    return found


def _sum(path: str, node: Any) -> float:
    chosen = nodes(path, node)
    if not chosen:
        raise TransientError(f"nothing is at {path}; the row has: {named(node)}")
    return _sane(math.fsum(_number(path, one) for one in chosen), path)


def _number(path: str, value: Any) -> float:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TransientError(f"{path} is no number but {json.dumps(value)[:SHOWN]}")
    return _sane(value, path)


def _sane(value: float, path: str) -> float:
    if not -LARGEST <= value <= LARGEST:  # also not of NaN
        raise TransientError(f"{path} is beyond 2**53, where counts are no longer exact")
    return float(value)


def _buckets(path: str, node: Any) -> dict[str, float]:
    chosen = nodes(path, node)
    if len(chosen) != 1 or not isinstance(chosen[0], Mapping):
        raise TransientError(f"{path} is no object of edges and counts; the row has: {named(node)}")
    found: dict[float, float] = {}
    for edge, count in chosen[0].items():
        try:
            found[float(edge)] = _number(f"{path}.{edge}"[:SHOWN], count)
        except ValueError as error:
            raise TransientError(f"{path} has the edge '{edge[:SHOWN]}', which is no number") from error
    counts = [found[edge] for edge in sorted(found)]
    if math.inf not in found or any(math.isnan(edge) for edge in found):
        raise TransientError(f"{path} has no '+Inf', so nobody knows how many events there were")
    if counts != sorted(counts) or counts[0] < 0 or not 1 < len(counts) <= MOST_EDGES + 1:
        raise TransientError(f"{path} must rise along 1 to {MOST_EDGES} edges and +Inf")
    return {f"{edge:.15g}": found[edge] for edge in sorted(found)}


def _text(path: str, node: Any) -> str:
    chosen = nodes(path, node)
    text = str(chosen[0]) if len(chosen) == 1 and isinstance(chosen[0], (str, int)) else ""
    if not text or len(text) > 200:
        raise TransientError(f"{path} names nothing; the row has: {named(node)}")
    return text


def _time(path: str, node: Any) -> float:
    chosen = nodes(path, node)
    value = chosen[0] if len(chosen) == 1 else None
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        try:
            at = datetime.fromisoformat(value)
        except ValueError as error:
            raise TransientError(f"{path} is no time but '{value[:SHOWN]}'") from error
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    seconds = _number(path, value)
    return seconds / 1000 if seconds > MILLISECONDS else seconds


def _without_doubles(rows: Rows) -> Rows:
    """Rows that are of the same version, instance and time: they may be parts, or repeated. None counts."""
    seen: dict[tuple[str, str, float | None], int] = {}
    for row in rows.found:
        key = (row.version, row.instance, row.at)
        seen[key] = seen.get(key, 0) + 1
    doubled = {key for key, count in seen.items() if count > 1}
    for version, instance, _ in sorted(doubled, key=str)[:3]:
        whose = f"version {version}" + (f", instance {instance}" if instance else "")
        rows.problems.append(f"several rows are of {whose}; add 'instance:' if they are parts of it")
    rows.found = [row for row in rows.found if (row.version, row.instance, row.at) not in doubled]
    return rows


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")
