"""docs/judge.md never lies: its commands print what it shows, its links lead somewhere."""

import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.cli import main
from rollout.cli.session import World
from rollout.core.judge import exposure_to_rule_out, needed_requests
from rollout.core.judge.combine import SEQUENTIAL
from rollout.testing import ManualClock
from tests.offline import examples

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "judge.md").read_text(encoding="utf-8")
LEFT_OUT = "…"


def shown() -> Iterator[tuple[str, list[str]]]:
    """Each command of the page, with the lines shown below it."""
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL):
        for part in block.split("$ ")[1:]:
            command, *lines = part.splitlines()
            yield command, lines


SHOWN = dict(shown())


def differs(lines: list[str], printed: list[str]) -> str:
    """The first shown line that was not printed in its place; `…` stands for any lines."""
    place, free = 0, False
    for line in lines:
        if line == LEFT_OUT:
            free = True
            continue
        found = next((at for at in range(place, len(printed)) if printed[at] == line), None)
        if found is None or (not free and found != place):
            return line
        place, free = found + 1, False
    return "" if free or place == len(printed) else f"the page ends before: {printed[place]}"


@pytest.mark.parametrize("command", SHOWN, ids=lambda command: command.split("examples/")[-1].split()[0])
def test_the_page_shows_what_its_command_prints(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("ROLLOUT_CONFIG", str(ROOT))
    monkeypatch.setenv("ROLLOUT_DATA", str(tmp_path))
    out, err = io.StringIO(), io.StringIO()
    _, *argv = shlex.split(command, comments=True)
    jobs = ["--jobs", "1"] if argv[0] == "backtest" else []
    code = main(
        [*argv, *jobs], World(out=out, err=err, input=io.StringIO(), clock=ManualClock(examples.DEPLOY))
    )
    assert err.getvalue() == ""
    printed = [line.rstrip() for line in out.getvalue().splitlines()]
    assert differs(SHOWN[command], printed) == "", "\n".join(printed)
    assert command.endswith(f"# exits {int(code)}")


def test_every_example_is_shown_small_and_among_the_past_releases():
    folder = ROOT / "docs" / "examples"
    made = set(examples.FILES)
    assert {path.name for path in folder.iterdir()} == made | {"policy.yaml", "releases.csv"}
    assert [name for name in made if f"examples/{name}" not in PAGE] == []
    releases = (folder / "releases.csv").read_text(encoding="utf-8")
    assert [name for name in made if f"\n{name}," not in releases] == []
    assert max(path.stat().st_size for path in folder.iterdir()) < 60_000


def test_what_the_page_compares_with_is_noticed_where_it_differs():
    printed = ["one", "two", "three"]
    assert differs(["one", LEFT_OUT, "three"], printed) == ""
    assert differs([LEFT_OUT, "two", LEFT_OUT], printed) == ""
    assert differs(["one", "three"], printed) == "three"
    assert differs(["one", "two"], printed) == "the page ends before: three"
    assert differs([LEFT_OUT, "four"], printed) == "four"


@pytest.mark.parametrize("share", [0.25, 0.50, 0.75])
def test_requests_for_a_tolerance_are_those_that_a_plan_reckons_with(share: float):
    alpha = 0.01 * SEQUENTIAL
    cells = [
        f"{exposure_to_rule_out(0.005, lift, share):,.0f} / {needed_requests(0.005, lift, share, alpha):,.0f}"
        for lift in (1.5, 2.0, 5.0)
    ]
    assert f"| {' | '.join(cells)} |" in PAGE


def test_links_lead_to_a_file_and_to_a_heading_there():
    for target, _, heading in re.findall(r"\]\(([^)#]*)(#([^)]+))?\)", PAGE):
        path = ROOT / "docs" / (target or "judge.md")
        assert path.exists(), target
        if heading:
            lines = path.read_text(encoding="utf-8").splitlines()
            titles = [line.lstrip("# ").lower() for line in lines if line.startswith("#")]
            assert heading in {re.sub(r"[^\w -]", "", title).replace(" ", "-") for title in titles}
