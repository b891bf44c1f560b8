"""bench/real_data.py: placebos and harm out of real series, read back by the backtest's own readers."""

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bench.real_data import main
from rollout.config import parse_policy
from rollout.offline.releases import PastRelease, read_releases
from rollout.offline.samples import Row, SamplesFile

FIRST = datetime(2018, 6, 1, tzinfo=UTC)
HOURS = 60 * 24


def a_series(folder: Path, name: str, notes: str, values: Iterator[str], marked: range = range(0)) -> None:
    folder.mkdir(parents=True)
    lines = ["TimeStamp,Value,Label"]
    for hour, value in zip(range(HOURS), values, strict=False):
        lines.append(f"{FIRST + timedelta(hours=hour):%Y-%m-%d %H:%M:%S},{value},{int(hour in marked)}")
    (folder / f"{name}.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (folder / f"{name}.csv-metadata.json").write_text(json.dumps({"notes": [notes]}), encoding="utf-8")


def steady(value: str) -> Iterator[str]:
    while True:
        yield value


@pytest.fixture
def data(tmp_path: Path) -> Path:
    top = tmp_path / "data" / "cloud-monitoring"
    a_series(top / "crash", "crash-1", "crash rates", steady("1000"), marked=range(10 * 24, 15 * 24))
    a_series(top / "latency", "latency-1", "the latency observed", steady("83.5"))
    a_series(top / "requests", "requests-1", "incoming request rates", steady("500.25"))
    machines = tmp_path / "data" / "azure-vm-noise"
    machines.mkdir()
    lines = ["value,runtime,starttime,VM_id"]
    for hour in range(0, HOURS, 2):
        lines += [f"100.5,60.4,{FIRST + timedelta(hours=hour):%Y-%m-%d %H:%M:%S}.810,{vm}" for vm in (0, 1)]
    (machines / "Redis GET.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return tmp_path / "data"


def made(data: Path, out: Path, *more: str) -> tuple[PastRelease, ...]:
    main(["--data", str(data), "--out", str(out), "--releases", "3", "--rise", "2", *more])
    return read_releases(out / "releases.csv")


def rows(out: Path, release: PastRelease) -> list[Row]:
    return list(SamplesFile(out / release.file))


def test_half_are_bad_no_placebo_holds_a_marked_anomaly_and_the_policy_can_be_read(
    data: Path, tmp_path: Path
):
    found = made(data, tmp_path / "out")
    assert [release.bad for release in found].count(True) == len(found) / 2 == 12
    for release in found:
        if release.service == "crash-1":
            hours = (release.began - FIRST).total_seconds() / 3600
            assert not 10 * 24 - 24 <= hours < 15 * 24
    policy = parse_policy((tmp_path / "out" / "policy.yaml").read_text(encoding="utf-8"))
    assert {check.signal for check in policy.checks} == {"events", "level", "speed", "flow"}


def test_the_parts_do_not_overlap(data: Path, tmp_path: Path):
    middle = FIRST + timedelta(hours=HOURS / 2)
    assert all(r.began + timedelta(hours=24) <= middle for r in made(data, tmp_path / "a", "--part", "early"))
    assert all(r.began >= middle - timedelta(hours=1) for r in made(data, tmp_path / "b", "--part", "late"))


def test_a_count_is_split_by_a_coin_and_the_harm_is_in_the_candidate_alone(data: Path, tmp_path: Path):
    for release in made(data, tmp_path / "out", "--only", "crash"):
        after = [row for row in rows(tmp_path / "out", release) if row.time > release.began]
        arms = {version: [r for r in after if r.version == version] for version in ("1.0", release.version)}
        per_hour = {v: sum(r.value for r in rs) / sum(r.exposure for r in rs) for v, rs in arms.items()}
        assert per_hour["1.0"] == pytest.approx(1000, rel=0.05)
        assert per_hour[release.version] == pytest.approx(2000 if release.bad else 1000, rel=0.05)


@pytest.mark.parametrize(("only", "signal", "factor"), [("latency", "level", 2.0), ("requests", "flow", 0.5)])
def test_other_series_are_switched_whole_and_rise_or_fall(
    data: Path, tmp_path: Path, only: str, signal: str, factor: float
):
    for release in made(data, tmp_path / "out", "--only", only):
        found = rows(tmp_path / "out", release)
        before = {row.value for row in found if row.version == "1.0"}
        after = {row.value for row in found if row.version == release.version}
        assert {row.signal for row in found} == {signal}
        assert all((row.version == release.version) is (row.time > release.began) for row in found)
        assert after == ({factor * value for value in before} if release.bad else before)


def test_machines_are_regions_and_only_the_first_is_deployed(data: Path, tmp_path: Path):
    for release in made(data, tmp_path / "out", "--only", "redis"):
        found = rows(tmp_path / "out", release)
        assert set(release.deploys) == {"vm0"}
        assert {row.version for row in found if row.region == "vm1"} == {"1.0"}


def test_the_same_seed_makes_the_same_releases(data: Path, tmp_path: Path):
    one, same, other = (
        made(data, tmp_path / name, "--seed", seed) for name, seed in (("a", "5"), ("b", "5"), ("c", "6"))
    )
    assert one == same
    assert one != other
    assert [rows(tmp_path / "a", r) for r in one] == [rows(tmp_path / "b", r) for r in same]
