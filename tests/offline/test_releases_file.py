"""releases.csv: releases of several regions, repeated files, and every wrong place by its line."""

from pathlib import Path

import pytest

from rollout.core.errors import InvalidInput
from rollout.offline.releases import HEADER, read_releases
from tests.offline.recorded import text

TOP = "file,service,version,region,deployed_at,label,harm_at\n"


def a_file(tmp_path: Path, *lines: str, header: str = TOP) -> Path:
    path = tmp_path / "releases.csv"
    path.write_text(header + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_rows_of_one_release_are_its_regions_and_a_region_again_is_the_next_release(tmp_path: Path):
    path = a_file(
        tmp_path,
        f"a.csv,mail,1.5.0,R3,{text(0)},bad,{text(5)}",
        f"a.csv,mail,1.5.0,R1,{text(60)},bad,",
        f"a.csv,mail,1.5.0,R3,{text(900)},bad,",
        f"a.csv,mail,1.6.0,R3,{text(2000)},good,",
        f"a.csv,mail,1.7.0,R3,{text(3000)},,",
    )
    found = read_releases(path)
    assert [(r.version, sorted(r.deploys), r.bad) for r in found] == [
        ("1.5.0", ["R1", "R3"], True),
        ("1.5.0", ["R3"], True),
        ("1.6.0", ["R3"], False),
        ("1.7.0", ["R3"], None),
    ]
    assert found[0].harm_at is not None
    assert found[0].harm_at.minute == 5


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"a.csv,mail,1.5.0,R3,{text(0)},ugly,", "releases.csv:2: label: 'ugly' is neither good nor bad"),
        ("a.csv,mail,1.5.0,R3,yesterday,good,", "releases.csv:2: deployed_at: 'yesterday' is not a time"),
        ("a.csv,mail,1.5.0,R3,,good,", "releases.csv:2: deployed_at: is empty"),
        ("a.csv,mail,1.5.0,R3,2026-03-02T12:00:00,good,", "has no time zone"),
        (f"a.csv,mail,1.5.0,,{text(0)},good,", "releases.csv:2: region: is empty"),
        ("a.csv,mail", "releases.csv:2: has 2 columns instead of 7"),
    ],
)
def test_a_wrong_place_is_named(tmp_path: Path, line: str, said: str):
    with pytest.raises(InvalidInput) as raised:
        read_releases(a_file(tmp_path, line))
    assert said in str(raised.value)


def test_a_release_cannot_be_good_and_bad(tmp_path: Path):
    lines = [f"a.csv,mail,1.5.0,R3,{text(0)},good,", f"a.csv,mail,1.5.0,R1,{text(9)},bad,"]
    with pytest.raises(InvalidInput, match=r"releases\.csv:3: label: is 'bad', and in line 2"):
        read_releases(a_file(tmp_path, *lines))


def test_a_missing_file_a_wrong_header_and_no_release_say_what_the_header_is(tmp_path: Path):
    for path in (
        tmp_path / "none.csv",
        a_file(tmp_path, header=TOP.replace("label", "truth")),
        a_file(tmp_path),
    ):
        with pytest.raises(InvalidInput) as raised:
            read_releases(path)
        assert HEADER in str(raised.value)
