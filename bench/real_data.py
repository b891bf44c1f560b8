"""Samples files and releases.csv out of real series in which nothing was deployed, for `rollout backtest`.

Half of the releases are placebos (label good): real time went on, and nothing changed. In the other half
(label bad) a rise, or a fall where less is harm, is put into the candidate from the harm on. Counts are split
into two arms by a coin for each event, as instances beside each other would have had them; other series are
switched whole, so they have only their history and, where the data has several machines, their peers. Times
at which people marked an anomaly within the judged time are no placebo and are left out.

    python -m bench.real_data --data DIR --out DIR --part early --seed 1
    rollout backtest --policy OUT/policy.yaml --samples OUT --plots OUT/plots

`--part` splits each series in time: tune on early, report on late.
"""

import argparse
import csv
import gzip
import json
import re
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np

COLUMNS = ("time", "region", "version", "signal", "value", "exposure")
RELEASES = ("file", "service", "version", "region", "deployed_at", "label", "harm_at")
OLD, NEW = "1.0", "1.1"
HISTORY = timedelta(days=14)
LEAST_HISTORY = timedelta(days=3)
LEAST_POINTS = 8  # in the history, and in what is judged
SHARE = 0.5  # of the events, to the candidate of a split count
POLICY = """\
# Made by bench/real_data.py. Each file has one of these signals; checks without one are left out.
apiVersion: rollout/v1
name: real-data
holdback: 50%
steps: [{set_weight: 50%}, {bake: BAKE}]
stages: [{regions: [main]}]
checks:
  - {signal: events, kind: rate}                        # counts: crashes, refusals
  - {signal: level, kind: gauge, direction: up}         # latency, shares of crashes
  - {signal: speed, kind: gauge, direction: down}       # what a benchmark reaches
  - {signal: flow, kind: throughput, direction: down}   # requests, purchases, bytes
watch: WATCH
"""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One real series: `regions` maps a place to its (time, value, anomalous), in order of time."""

    name: str
    signal: str
    counted: bool  # whole numbers of events that can be split
    regions: dict[str, list[tuple[datetime, float, bool]]]


@dataclass(frozen=True, kw_only=True)
class Made:
    """One release to be written."""

    series: Series
    number: int
    at: datetime
    harm_at: datetime | None
    factor: float  # of the candidate from the harm on

    @property
    def version(self) -> str:
        """A version of its own, so that rows of releases.csv are told apart."""
        return f"{NEW}.{self.number}"

    @property
    def file(self) -> str:
        """Where its samples are."""
        return f"{self.series.name}-{self.number:03}.csv.gz"


def main(argv: Sequence[str] | None = None) -> None:
    """Write the folder and say how much is in it."""
    asked = _arguments(argv)
    rng = np.random.default_rng(asked.seed)
    asked.out.mkdir(parents=True, exist_ok=True)
    made = [one for series in read(asked.data, asked.only) for one in releases(series, asked, rng)]
    with (asked.out / "releases.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(RELEASES)
        for one in made:
            _write(asked.out / one.file, one, timedelta(hours=asked.hours), rng)
            label, harm = ("bad", _text(one.harm_at)) if one.harm_at else ("good", "")
            region = next(iter(one.series.regions))
            lines.writerow((one.file, one.series.name, one.version, region, _text(one.at), label, harm))
    times = {"BAKE": f"{asked.hours / 2:g}h", "WATCH": f"{asked.hours / 2:g}h"}
    (asked.out / "policy.yaml").write_text(
        re.sub("BAKE|WATCH", lambda m: times[m[0]], POLICY), encoding="utf-8"
    )
    bad = sum(one.harm_at is not None for one in made)
    print(
        f"{len(made)} releases of {len({m.series.name for m in made})} series, {bad} of them bad: {asked.out}"
    )


def read(data: Path, only: str) -> Iterator[Series]:
    """Every series below `data` whose name holds `only`."""
    for path in sorted((data / "cloud-monitoring").glob("*/*.csv.gz")):
        series = _monitored(path)
        if only in series.name:
            yield series
    for path in sorted((data / "azure-vm-noise").glob("*.csv.gz")):
        series = _benchmarked(path)
        if only in series.name:
            yield series


def releases(series: Series, asked: argparse.Namespace, rng: np.random.Generator) -> Iterator[Made]:
    """Placebos at random times of the part, and as many with harm; none where the series is too short."""
    points = next(iter(series.regions.values()))
    if len(points) < 2:
        return
    judged = timedelta(hours=asked.hours)
    middle = points[0][0] + (points[-1][0] - points[0][0]) / 2
    first = (
        points[0][0] + LEAST_HISTORY if asked.part == "early" else max(middle, points[0][0] + LEAST_HISTORY)
    )
    last = (middle if asked.part == "early" else points[-1][0]) - judged
    marked = [time for time, _, anomalous in points if anomalous]
    times = [time for time, _, _ in points]
    rise = asked.rise if series.signal in ("events", "level") else 1 / asked.rise
    for number in range(2 * asked.releases):
        at = _quiet_time(first, last, times, marked, judged, rng)
        if at is None:
            return
        harm = at + timedelta(minutes=asked.harm_after) if number % 2 else None
        yield Made(series=series, number=number, at=at, harm_at=harm, factor=rise if harm else 1.0)


def _quiet_time(
    first: datetime,
    last: datetime,
    times: list[datetime],
    marked: list[datetime],
    judged: timedelta,
    rng: np.random.Generator,
) -> datetime | None:
    """A random time between enough data, with no marked anomaly after it; None after a hundred tries."""
    for _ in range(100 if last > first else 0):
        at = first + (last - first) * float(rng.uniform())
        at -= timedelta(microseconds=at.microsecond)
        known = (
            bisect(times, at) - bisect(times, at - HISTORY),
            bisect(times, at + judged) - bisect(times, at),
        )
        if min(known) >= LEAST_POINTS and not any(at <= time <= at + judged for time in marked):
            return at
    return None


def _monitored(path: Path) -> Series:
    """One of cloud-monitoring: TimeStamp, Value, Label; what it is stands in the notes beside it."""
    beside = path.with_name(path.name.removesuffix(".gz") + "-metadata.json")
    notes = " ".join(json.loads(beside.read_text(encoding="utf-8")).get("notes", ())).lower()
    points = []
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            if not row["Value"]:
                continue  # a gap
            time = datetime.fromisoformat(row["TimeStamp"]).replace(tzinfo=UTC)
            points.append((time, float(row["Value"]), row["Label"].strip() == "1"))
    points = sorted({time: (time, value, marked) for time, value, marked in points}.values())
    whole = all(value == int(value) for _, value, _ in points)
    said = f"{path.parent.name} {notes}"
    if "latency" in said or ("crash" in said and not whole):
        signal = "level"
    elif "crash" in said or "unavailable" in said:
        signal = "events"
    else:
        signal = "flow"
    counted = whole and (signal == "events" or "purchase" in said)
    name = path.name.split(".")[0]
    return Series(name=name, signal=signal, counted=counted, regions={"main": points})


def _benchmarked(path: Path) -> Series:
    """One of azure-vm-noise: each machine is a region, and those beside the first are its peers."""
    regions: dict[str, dict[datetime, tuple[datetime, float, bool]]] = {}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            time = datetime.fromisoformat(row["starttime"]).replace(tzinfo=UTC)
            time = time.replace(microsecond=0) + timedelta(seconds=round(float(row["runtime"])))
            regions.setdefault(f"vm{row['VM_id']}", {})[time] = (time, float(row["value"]), False)
    name = re.sub(r"[^a-z0-9]+", "-", path.name.removesuffix(".csv.gz").lower()).strip("-")
    signal = "level" if "latency" in name else "speed"
    points = {region: sorted(found.values()) for region, found in sorted(regions.items())}
    return Series(name=name, signal=signal, counted=False, regions=points)


def _write(path: Path, one: Made, judged: timedelta, rng: np.random.Generator) -> None:
    rows = [row for region in one.series.regions for row in _rows(one, region, judged, rng)]
    rows.sort(key=lambda row: row[0])
    with gzip.open(path, "wt", encoding="utf-8", newline="", compresslevel=6) as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        lines.writerows((_text(time), *rest) for time, *rest in rows)


def _rows(
    one: Made, region: str, judged: timedelta, rng: np.random.Generator
) -> Iterator[tuple[datetime, str, str, str, str, str]]:
    """The rows of one region from two weeks before the deploy to an hour after what is judged."""
    points = one.series.regions[region]
    gaps = sorted((b[0] - a[0]).total_seconds() for a, b in pairwise(points))
    hours = gaps[len(gaps) // 2] / 3600
    deployed = region == next(iter(one.series.regions))
    for time, value, _ in points:
        if not one.at - HISTORY <= time <= one.at + judged + timedelta(hours=1):
            continue
        after = deployed and time > one.at
        factor = one.factor if one.harm_at and deployed and time > one.harm_at else 1.0
        for version, number, share in _arms(one, value, after=after, factor=factor, rng=rng):
            exposure = f"{hours * share:.6g}" if one.series.signal == "events" else ""
            yield time, region, version, one.series.signal, f"{number:.9g}", exposure


def _arms(
    one: Made, value: float, *, after: bool, factor: float, rng: np.random.Generator
) -> Iterator[tuple[str, float, float]]:
    """Version, value and share of what ran at one time: two arms of a count, else what was there."""
    if not one.series.counted:
        yield one.version if after else OLD, value * factor, 1.0
        return
    count = int(value)
    if not after:
        yield OLD, float(count), 1.0
        return
    mine = int(rng.binomial(count, SHARE))
    extra = int(rng.poisson((factor - 1) * mine)) if factor > 1 else 0
    kept = mine if factor >= 1 else int(rng.binomial(mine, factor))
    yield OLD, float(count - mine), 1 - SHARE
    yield one.version, float(kept + extra), SHARE


def _text(time: datetime | None) -> str:
    return "" if time is None else time.isoformat().replace("+00:00", "Z")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    found = argparse.ArgumentParser(description="Releases out of real series, for rollout backtest.")
    found.add_argument("--data", type=Path, required=True, help="has cloud-monitoring/ and azure-vm-noise/")
    found.add_argument("--out", type=Path, required=True, help="the folder to write")
    found.add_argument("--part", choices=("early", "late"), default="early", help="half of each series")
    found.add_argument("--seed", type=int, default=1)
    found.add_argument(
        "--releases", type=int, default=5, help="placebos of each series, and as many bad ones"
    )
    found.add_argument(
        "--hours", type=float, default=24.0, help="judged after a deploy: half bake, half watch"
    )
    found.add_argument("--rise", type=float, default=2.0, help="of a bad release; where less is harm, 1/rise")
    found.add_argument("--harm-after", type=float, default=0.0, help="minutes from deploy to harm")
    found.add_argument("--only", default="", help="series whose name holds this")
    return found.parse_args(argv)


if __name__ == "__main__":
    main()
