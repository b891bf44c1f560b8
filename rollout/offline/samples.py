"""Reads a samples file row by row: CSV, plain or gzip, in constant memory, as docs/samples-file.md says.

Structure that is wrong stops with `file:line: column: message`. A number that cannot be true is no evidence:
its row is passed over, counted and reported.
"""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Never, Protocol, TextIO

from rollout.core.errors import InvalidInput, Problem, did_you_mean
from rollout.offline.releases import parse_time

COLUMNS = ("time", "region", "version", "signal", "value", "exposure")
MORE_COLUMNS = ("duration_s", "instance")  # optional, in any place
GZIP = b"\x1f\x8b"
TELL_EVERY = 20_000  # rows between two words about progress

Progress = Callable[[float], None]  # the part that was read, 0..1


class Row(NamedTuple):
    """One row as written. `exposure` and `duration_s` are NaN where nothing is written."""

    time: datetime
    region: str
    version: str
    signal: str
    value: float
    exposure: float
    duration_s: float
    instance: str


class Recording(Protocol):
    """Rows of past releases in order of time, read anew by each loop. `unusable` is of the newest loop."""

    name: str
    unusable: "Unusable"

    def __iter__(self) -> Iterator[Row]: ...


@dataclass(slots=True)
class Unusable:
    """Rows that were passed over, by reason, and the line of the first of each."""

    counts: dict[str, int] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)

    def note(self, reason: str, line: int = 0) -> None:
        """Count one more."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        self.lines.setdefault(reason, line)

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        return iter((reason, count, self.lines[reason]) for reason, count in self.counts.items())


class SamplesFile:
    """The rows of one file. Raises InvalidInput, while it is read, at the first line that cannot be used."""

    def __init__(self, path: Path, progress: Progress | None = None) -> None:
        self.name, self._path, self._progress = path.name, path, progress
        self.unusable = Unusable()

    def __iter__(self) -> Iterator[Row]:
        self.unusable = Unusable()
        with self._opened() as (text, read_part):
            reader = csv.reader(text, strict=True)
            with self._read_errors(reader):
                places, width = self._header(next(reader, None))
                yield from self._rows(reader, places, width, read_part)

    def _rows(
        self, reader: "_Reader", places: Mapping[str, int], width: int, read_part: Callable[[], float]
    ) -> Iterator[Row]:
        time_at, region_at, version_at, signal_at, value_at, exposure_at = (places[name] for name in COLUMNS)
        duration_at, instance_at = (places.get(name) for name in MORE_COLUMNS)
        newest, newest_line, written = None, 0, ""
        time = datetime.min.replace(tzinfo=UTC)
        for count, cells in enumerate(reader):
            if len(cells) != width:
                if not any(cells):
                    continue
                self._refuse(reader.line_num, "", f"has {len(cells)} columns instead of {width}")
            if cells[time_at] != written:
                written = cells[time_at]
                time = self._time(written, reader.line_num)
                if newest is not None and time < newest:
                    self._unsorted(reader.line_num, time, newest_line, newest)
                newest, newest_line = time, reader.line_num
            if self._progress is not None and not count % TELL_EVERY:
                self._progress(read_part())
            value = self._number(cells[value_at], "value", reader)
            exposure = self._number(cells[exposure_at], "exposure", reader, math.nan)
            duration = math.nan
            if duration_at is not None:
                duration = self._number(cells[duration_at], "duration_s", reader, math.nan)
            if value < 0 or exposure < 0 or duration < 0:
                continue
            region, signal = cells[region_at], cells[signal_at]
            if not region or not signal:
                self._refuse(reader.line_num, "signal" if region else "region", "is empty")
            instance = cells[instance_at] if instance_at is not None else ""
            yield Row(time, region, cells[version_at], signal, value, exposure, duration, instance)
        if newest is None:
            self._refuse(reader.line_num, "", "there is no row after the header")
        if self._progress is not None:
            self._progress(1.0)

    def _number(self, text: str, column: str, reader: "_Reader", empty: float = -1.0) -> float:
        """A number that can be true, `empty` for none, or -1 for one that cannot, which is counted."""
        if not text and empty != -1.0:
            return empty
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if 0 <= number < math.inf:
            return number
        self.unusable.note(f"{column} {_wrong(text, number)}", reader.line_num)
        return -1.0

    def _header(self, cells: list[str] | None) -> tuple[dict[str, int], int]:
        expected = ",".join(COLUMNS)
        if not cells:
            self._refuse(1, "", f"is empty; a samples file begins with the header {expected}")
        names = [cell.strip() for cell in cells]
        missing = [name for name in COLUMNS if name not in names]
        known = (*COLUMNS, *MORE_COLUMNS)
        strange = [name for name in names if name not in known]
        if missing:
            message = f"the header has no column '{missing[0]}'; it must be {expected}"
            self._refuse(1, missing[0], message)
        if strange or len(set(names)) < len(names):
            wrong = strange[0] if strange else next(n for n in names if names.count(n) > 1)
            hint = did_you_mean(wrong, known) if strange else ", which is there twice"
            self._refuse(
                1, wrong, f"unknown column '{wrong}'{hint}" if strange else f"column '{wrong}'{hint}"
            )
        return {name: place for place, name in enumerate(names)}, len(names)

    def _time(self, text: str, line: int) -> datetime:
        try:
            return parse_time(text)
        except ValueError as error:
            self._refuse(line, "time", str(error))

    def _unsorted(self, line: int, time: datetime, before: int, newest: datetime) -> Never:
        message = (
            f"{time.isoformat()} comes after {newest.isoformat()} of line {before}; "
            "sort the rows by time, then again"
        )
        self._refuse(line, "time", message)

    def _refuse(self, line: int, column: str, message: str) -> Never:
        place = f"{self.name}:{line}" + (f": {column}" if column else "")
        raise InvalidInput("The samples cannot be used.", (Problem(place, message),))

    @contextmanager
    def _opened(self) -> Iterator[tuple[TextIO, Callable[[], float]]]:
        """The text of the file, and how much of it was read. The first two bytes tell gzip."""
        try:
            with self._path.open("rb") as raw:
                packed = raw.read(2) == GZIP
                size = max(1, raw.seek(0, io.SEEK_END))
                raw.seek(0)
                unpacked = gzip.GzipFile(fileobj=raw) if packed else raw
                with io.TextIOWrapper(unpacked, encoding="utf-8-sig", newline="") as text:
                    yield text, lambda: raw.tell() / size
        except OSError as error:
            reason = error.strerror or "is a damaged gzip file"
            raise InvalidInput(
                "The samples cannot be used.", (Problem(str(self._path), f"cannot be read: {reason}"),)
            ) from error

    @contextmanager
    def _read_errors(self, reader: "_Reader") -> Iterator[None]:
        try:
            yield
        except csv.Error as error:
            self._refuse(reader.line_num, "", f"is not CSV: {error}")
        except UnicodeDecodeError as error:
            after = reader.line_num
            self._refuse(
                after + 1, "", f"is not UTF-8, here or soon after: byte 0x{error.object[error.start]:02x}"
            )
        except (EOFError, zlib.error) as error:
            self._refuse(reader.line_num + 1, "", f"the gzip file is damaged or cut off: {error}")


class _Reader(Protocol):
    """What csv.reader is."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...

    def __next__(self) -> list[str]: ...


def _wrong(text: str, number: float) -> str:
    """Why a number cannot be true."""
    if not text:
        return "is missing"
    if math.isinf(number):
        return "is infinite"
    if number < 0:
        return "is negative"
    return "is NaN" if text.strip().lower() in ("nan", "-nan", "+nan") else "is not a number"
