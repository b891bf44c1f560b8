"""Past releases: where and when each was deployed, and whether it was harmful. Reads releases.csv."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Never

from rollout.core.errors import InvalidInput, Problem

COLUMNS = ("file", "service", "version", "region", "deployed_at", "label")
MORE_COLUMNS = ("harm_at", "ended_at")
LABELS = {"good": False, "bad": True, "": None}
HEADER = f"{','.join(COLUMNS)}[,harm_at][,ended_at]"


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRelease:
    """One release as it was recorded.

    `bad` is the truth, None where nobody said it. `harm_at` is when its harm began, `ended_at` when it was
    taken back: nothing after that is judged. `version` may be a name that the samples do not know.
    """

    file: str
    service: str
    version: str
    deploys: Mapping[str, datetime]
    bad: bool | None = None
    harm_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def began(self) -> datetime:
        """When its first region was deployed."""
        return min(self.deploys.values())

    @property
    def title(self) -> str:
        """Service, version and time, for people."""
        return f"{self.service} {self.version} of {self.began:%Y-%m-%d %H:%M}"


@dataclass(slots=True)
class _Rows:
    line: int
    bad: bool | None
    deploys: dict[str, datetime] = field(default_factory=dict)
    harm_at: datetime | None = None
    ended_at: datetime | None = None


def read_releases(path: Path) -> tuple[PastRelease, ...]:
    """One release for each file, service and version; a region named again begins another.

    Raises InvalidInput with `releases.csv:line: column`.
    """
    found: dict[tuple[str, str, str], list[_Rows]] = {}
    for line, cells in _lines(path):
        _take(path, found, line, cells)
    releases = [_release(key, rows) for key, group in found.items() for rows in group]
    if not releases:
        _refuse(path, 1, "", f"names no release; its header is {HEADER}, and each row a region of a release")
    return tuple(sorted(releases, key=lambda release: (release.file, release.began)))


def _take(
    path: Path, found: dict[tuple[str, str, str], list[_Rows]], line: int, cells: Mapping[str, str]
) -> None:
    key = (cells["file"], cells["service"], cells["version"])
    if not cells["region"]:
        _refuse(path, line, "region", "is empty")
    label = cells["label"].lower()
    if label not in LABELS:
        _refuse(path, line, "label", f"'{cells['label']}' is neither good nor bad; empty is unknown")
    group = found.setdefault(key, [])
    if not group or cells["region"] in group[-1].deploys:
        group.append(_Rows(line, LABELS[label]))
    rows = group[-1]
    if rows.bad is not LABELS[label]:
        _refuse(path, line, "label", f"is '{label}', and in line {rows.line} of the same release it is not")
    deployed = _time(path, line, "deployed_at", cells["deployed_at"])
    if deployed is None:
        _refuse(path, line, "deployed_at", "is empty")
    rows.deploys[cells["region"]] = deployed
    rows.harm_at = _earliest(rows.harm_at, _time(path, line, "harm_at", cells.get("harm_at", "")))
    rows.ended_at = _earliest(rows.ended_at, _time(path, line, "ended_at", cells.get("ended_at", "")))


def _release(key: tuple[str, str, str], rows: _Rows) -> PastRelease:
    file, service, version = key
    return PastRelease(
        file=file,
        service=service,
        version=version,
        deploys=rows.deploys,
        bad=rows.bad,
        harm_at=rows.harm_at,
        ended_at=rows.ended_at,
    )


def parse_time(text: str) -> datetime:
    """An RFC 3339 time in UTC. Raises ValueError with a sentence."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a time such as 2026-11-21T18:20:00Z") from None
    if time.tzinfo is None:
        raise ValueError(f"'{text}' has no time zone; write {text}Z if it is UTC")
    return time.astimezone(UTC)


def _time(path: Path, line: int, column: str, text: str) -> datetime | None:
    if not text:
        return None
    try:
        return parse_time(text)
    except ValueError as error:
        _refuse(path, line, column, str(error))


def _earliest(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((time for time in (one, other) if time), default=None)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            names = _header(path, next(reader, []))
            for cells in reader:
                if len(cells) == len(names):
                    yield reader.line_num, {n: cell.strip() for n, cell in zip(names, cells, strict=True)}
                elif any(cells):
                    _refuse(path, reader.line_num, "", f"has {len(cells)} columns instead of {len(names)}")
    except OSError as error:
        message = f"cannot be read: {error.strerror}; it says what was released: {HEADER}"
        raise InvalidInput("The releases cannot be used.", (Problem(str(path), message),)) from error
    except (csv.Error, UnicodeDecodeError) as error:
        _refuse(path, 1, "", f"is not CSV in UTF-8: {error}")


def _header(path: Path, cells: Sequence[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    missing = [name for name in COLUMNS if name not in names]
    strange = [name for name in names if name not in (*COLUMNS, *MORE_COLUMNS)]
    if missing:
        _refuse(path, 1, missing[0], f"is missing in the header; it is {HEADER}")
    if strange or len(set(names)) < len(names):
        _refuse(path, 1, "", f"the header is {','.join(names)}, and must be {HEADER}")
    return names


def _refuse(path: Path, line: int, column: str, message: str) -> Never:
    place = f"{path.name}:{line}" + (f": {column}" if column else "")
    raise InvalidInput("The releases cannot be used.", (Problem(place, message),))
