"""docs/signals.md names every form and key of the source `scrape`, and its example can be used."""

import re
from pathlib import Path

import yaml

from rollout.core.signals import Signal, SignalKind
from rollout.sources.scrape_cursor import SKEW_S
from rollout.sources.scrape_series import MOST_EDGES
from rollout.sources.scrape_signals import _FORMS, ScrapeSignal, meaning

TEXT = (Path(__file__).parents[2] / "docs/signals.md").read_text(encoding="utf-8")


def test_every_form_is_in_the_reference_with_its_kind() -> None:
    rows = re.findall(r"^\| `\{(.+)\}` \| (\w+) \|", TEXT, re.MULTILINE)
    written = {frozenset(re.findall(r"(\w+):", form)): SignalKind(kind) for form, kind in rows}
    assert written == _FORMS


def test_every_written_form_can_be_used() -> None:
    for form, kind in re.findall(r"^\| `(\{.+\})` \| (\w+) \|", TEXT, re.MULTILINE):
        assert ScrapeSignal.model_validate(yaml.safe_load(form)).kind == kind


def test_the_example_can_be_used() -> None:
    example = re.search(r"```yaml\n(.+?)```", TEXT, re.DOTALL)
    assert example is not None
    for name, written in yaml.safe_load(example[1])["signals"].items():
        segment = next(iter(written.get("segments", {"": {}}).values()))
        signal = Signal(
            name=name,
            kind=SignalKind(written["kind"]),
            title=written["title"],
            sources={"scrape": written["scrape"]},
            segment=segment,
        )
        found = meaning(signal)
        assert found is not None
        assert not found.unreadable


def test_the_limits_of_the_reference_are_those_of_the_code() -> None:
    assert f"every edge of the buckets, {MOST_EDGES} at most" in TEXT
    assert f"up to {SKEW_S / 60:g} min off" in TEXT
