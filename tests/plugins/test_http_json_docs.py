"""docs/http-json.md names every form, key, option and field, and its example is read as it says."""

import json
import re
from pathlib import Path

import httpx
import yaml
from http_json_lab import ask, numbers, since, source_of

from rollout.core.signals import Signal, SignalKind
from rollout.sources.http_json import HttpJsonOptions
from rollout.sources.http_json_signals import _FORMS, FIELDS, HttpJsonSignal

TEXT = (Path(__file__).parents[2] / "docs/http-json.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.+?)```", TEXT, re.DOTALL)


def test_every_form_is_named_with_its_kind() -> None:
    rows = re.findall(r"^\| (`\{.+\}`) \| (\w+) \|", TEXT, re.MULTILINE)
    written = {
        frozenset(re.findall(r"(\w+):", form)): SignalKind(kind)
        for forms, kind in rows
        for form in forms.split("`, `")
    }
    assert written == _FORMS


def test_every_option_key_and_field_is_named() -> None:
    keys = HttpJsonSignal.model_fields.keys() - {slot for form in _FORMS for slot in form}
    for name in (*HttpJsonOptions.model_fields, *keys):
        assert f"`{name}`" in TEXT, name
    for name in FIELDS:
        assert f"`{{{name}}}`" in TEXT, name


async def test_the_example_is_read_as_it_says() -> None:
    region, written = map(yaml.safe_load, blocks("yaml"))
    signals = [
        Signal(
            name=name,
            kind=SignalKind(one["kind"]),
            title=one["title"],
            sources={"http_json": one["http_json"]},
        )
        for name, one in written["signals"].items()
    ]
    options = {key: value for key, value in region["source"]["options"].items() if key != "token_env"}
    source = source_of(lambda _: httpx.Response(200, json=json.loads(blocks("json")[0])), **options)
    reading = await source.collect(ask(signals, 20, since(0, *signals), versions=("1.0.0", "1.1.0")))
    assert reading.problems == ()
    assert numbers(reading)[:3] == [
        ("errors", "1.0.0", 3, 1204),
        ("errors", "1.1.0", 1, 402),
        ("latency{le=0.1}", "1.0.0", 1101, 1204),
    ]
