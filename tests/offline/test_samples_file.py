"""Reading a samples file: what is refused with its line, what is passed over and counted."""

import gzip
import math
import tracemalloc
from pathlib import Path

import pytest

from rollout.core.errors import InvalidInput
from rollout.offline.samples import SamplesFile
from rollout.offline.survey import survey
from tests.offline.recorded import HEADER, text, write

GOOD = f"{text(1)},R3,1.4.0,errors,3,600\n"


def refusal(path: Path) -> str:
    with pytest.raises(InvalidInput) as raised:
        list(SamplesFile(path))
    return str(raised.value)


def a_file(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "samples.csv"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_byte_order_mark_line_ends_and_gzip_change_nothing(
    tmp_path: Path, packed: bool, mark: str, end: str
):
    content = (mark + HEADER + GOOD + GOOD.replace("errors", '"latency{segment=far,le=0.25}"')).replace(
        "\n", end
    )
    path = tmp_path / "samples.csv"
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    first, second = SamplesFile(path)
    assert (first.region, first.version, first.signal, first.value, first.exposure) == (
        "R3",
        "1.4.0",
        "errors",
        3,
        600,
    )
    assert second.signal == "latency{segment=far,le=0.25}"


def test_columns_may_stand_in_any_order_and_more_are_known(tmp_path: Path):
    header = "exposure,instance,time,region,duration_s,version,signal,value\n"
    (row,) = SamplesFile(write(tmp_path / "s.csv", [f",slot-1,{text(1)},R3,10,1.4.0,restarts,2\n"], header))
    assert (row.instance, row.duration_s, row.value) == ("slot-1", 10, 2)
    assert math.isnan(row.exposure)


def test_a_time_with_an_offset_is_taken_as_that_moment(tmp_path: Path):
    (row,) = SamplesFile(write(tmp_path / "s.csv", [GOOD.replace("12:01:00Z", "21:01:00+09:00")]))
    assert row.time.isoformat() == "2026-03-02T12:01:00+00:00"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "samples.csv:1: is empty; a samples file begins with the header time,region"),
        (HEADER, "samples.csv:1: there is no row after the header"),
        (
            HEADER.replace("exposure", "exposures"),
            "samples.csv:1: exposure: the header has no column 'exposure'",
        ),
        (HEADER.replace("\n", ",durations\n"), "unknown column 'durations'; did you mean 'duration_s'?"),
        (HEADER.replace("\n", ",value\n"), "column 'value', which is there twice"),
        (HEADER + GOOD + "2026-03-02T12:02:00Z,R3\n", "samples.csv:3: has 2 columns instead of 6"),
        (HEADER + GOOD.replace("Z,", ","), "samples.csv:2: time: '2026-03-02T12:01:00' has no time zone"),
        (HEADER + GOOD.replace("T", " at "), "samples.csv:2: time: '2026-03-02 at 12:01:00Z' is not a time"),
        (HEADER + GOOD.replace("R3", ""), "samples.csv:2: region: is empty"),
        (HEADER + GOOD.replace("errors", ""), "samples.csv:2: signal: is empty"),
        (HEADER + GOOD + '"' + GOOD, "is not CSV"),
        (HEADER + GOOD + GOOD.replace("1.4.0", "1.4\udcff"), "is not UTF-8, here or soon after: byte 0xff"),
    ],
)
def test_what_is_built_wrong_stops_with_its_line(tmp_path: Path, content: str, said: str):
    assert said in refusal(a_file(tmp_path, content))


def test_rows_that_are_not_sorted_by_time_stop_with_both_lines(tmp_path: Path):
    lines = [GOOD, GOOD.replace("12:01", "12:05"), GOOD.replace("12:01", "12:04")]
    said = refusal(write(tmp_path / "samples.csv", lines))
    assert (
        "samples.csv:4: time: 2026-03-02T12:04:00+00:00 comes after 2026-03-02T12:05:00+00:00 of line 3"
        in said
    )
    assert "sort the rows by time" in said


def test_a_file_that_is_cut_off_or_missing_is_said_in_words(tmp_path: Path):
    whole = gzip.compress((HEADER + GOOD * 2000).encode())
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    assert "the gzip file is damaged or cut off" in refusal(tmp_path / "cut.csv.gz")
    assert "cannot be read: No such file" in refusal(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("nan", "value is NaN"),
        ("inf", "value is infinite"),
        ("-inf", "value is infinite"),
        ("-1", "value is negative"),
        ("many", "value is not a number"),
        ("", "value is missing"),
    ],
)
def test_numbers_that_cannot_be_true_are_passed_over_and_counted(tmp_path: Path, value: str, reason: str):
    path = write(
        tmp_path / "s.csv", [GOOD, GOOD.replace(",3,", f",{value},"), GOOD.replace(",3,", f",{value},"), GOOD]
    )
    read = SamplesFile(path)
    assert len(list(read)) == 2
    assert list(read.unusable) == [(reason, 2, 3)]


def test_the_part_that_was_read_is_told_and_ends_at_all(tmp_path: Path):
    told: list[float] = []
    list(SamplesFile(write(tmp_path / "s.csv", [GOOD] * 45_000), told.append))
    assert len(told) >= 3
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_memory_does_not_grow_with_the_file(tmp_path: Path):
    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.csv"
        with path.open("w", encoding="utf-8") as file:
            file.write(HEADER)
            file.writelines(f"{text(n)},R3,1.4.0,errors,{n % 7},600\n" for n in range(rows))
        tracemalloc.start()
        try:
            assert survey(SamplesFile(path)).rows == rows
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(40_000) < 1.2 * peak(4_000) + 20_000
