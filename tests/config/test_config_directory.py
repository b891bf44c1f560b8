"""A directory is read whole, and every wrong place of every file is named at once."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.config import load_configuration
from rollout.core.errors import InvalidInput
from rollout.core.plan import compile_plan
from rollout.core.signals import Direction, SignalKind


def problems(directory: Path) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        load_configuration(directory)
    return [str(problem) for problem in caught.value.problems]


def edit(directory: Path, name: str, old: str, new: str) -> None:
    text = (directory / name).read_text()
    assert old in text
    (directory / name).write_text(text.replace(old, new, 1))


def test_a_good_directory_is_read(directory: Path) -> None:
    found = load_configuration(directory)
    assert list(found.regions) == ["R3", "R1"]
    assert found.regions["R1"].traffic_share == 0.6
    assert found.regions["R1"].time_zone == "Europe/Berlin"
    assert found.regions["R1"].deployer.options == {"directory": "var/R1"}
    assert found.signals["errors"].kind is SignalKind.RATIO
    assert found.signals["errors"].sources == {"pretend": {"metric": "errors_total"}}
    kept = found.policies["standard"]
    assert (kept.revision, kept.text) == (1, (directory / "policies/standard.yaml").read_text())
    assert len(kept.digest) == len(found.digest) == 64


WRONG = {
    "two regions of one name": (
        "regions.yaml", "name: R1", "name: R3",
        ["regions.yaml:10: regions.1.name: 'R3' is the name of another region too, regions.0; change one"],
    ),
    "two regions of one order": (
        "regions.yaml", "order: 2", "order: 1",
        ["regions.yaml:13: regions.1.order: '1' is the order of another region too, regions.0; change one"],
    ),
    "an unknown time zone": (
        "regions.yaml", "Europe/Berlin", "Europe/Berlim",
        [("regions.yaml:12: regions.1.time_zone: 'Europe/Berlim' is not a time zone of the IANA database; "
         "did you mean 'Europe/Berlin'?")],
    ),
    "a time zone that is a directory": (
        "regions.yaml", "Europe/Berlin", "Europe",
        [("regions.yaml:12: regions.1.time_zone: 'Europe' is not a time zone of the IANA database; "
         "did you mean 'Europe/Rome'?")],
    ),
    "a time zone that leaves its directory": (
        "regions.yaml", "Europe/Berlin", "../../etc/passwd",
        [("regions.yaml:12: regions.1.time_zone: '../../etc/passwd' is not a time zone of the IANA database; "
         "write for example Europe/Berlin")],
    ),
    "shares that do not add up": (
        "regions.yaml", "60%", "40%",
        ["regions.yaml:2: regions: the traffic shares add up to 80.0% and must add up to 100 %"],
    ),
    "a share that is no share": (
        "regions.yaml", "60%", "most",
        ["regions.yaml:14: regions.1.traffic_share: 'most' is not a share; write for example 30% or 0.3"],
    ),
    "an unknown deployer": (
        "regions.yaml", "kind: pretend\n      options", "kind: pretendd\n      options",
        ["regions.yaml:16: regions.1.deployer.kind: unknown kind 'pretendd'; did you mean 'pretend'?"],
    ),
    "an unknown option of a deployer": (
        "regions.yaml", "{directory: var/R1}", "{directory: var/R1, instanses: 2}",
        [("regions.yaml:17: regions.1.deployer.options.instanses: unknown key 'instanses'; "
         "did you mean 'instances'?")],
    ),
    "a missing option of a deployer": (
        "regions.yaml", "{directory: var/R1}", "{}",
        ["regions.yaml:17: regions.1.deployer.options.directory: is missing; add it"],
    ),
    "a wrong option of a source": (
        "regions.yaml", "source: {kind: pretend}", "source: {kind: pretend, options: {url: 5}}",
        ["regions.yaml:9: regions.0.source.options.url: must be text, and is 5; put it in quotes"],
    ),
    "two regions that would move the same instances": (
        "regions.yaml", "directory: var/R1", "directory: var/R3",
        [("regions.yaml:15: regions.1.deployer: regions R3 and R1 have the same deployer with the same "
          "options, and its orders do not say the region, so 'pretend' would move the same instances for "
          "both; give each its own options, such as another directory")],
    ),
    "two deployers that are the same only by a default": (
        "regions.yaml", "directory: var/R1", "directory: var/R3, instances: 1",
        [("regions.yaml:15: regions.1.deployer: regions R3 and R1 have the same deployer with the same "
          "options, and its orders do not say the region, so 'pretend' would move the same instances for "
          "both; give each its own options, such as another directory")],
    ),
    "an unknown key of a region": (
        "regions.yaml", "title: APAC", "titel: APAC",
        ["regions.yaml:3: regions.0.title: is missing; add it",
         "regions.yaml:4: regions.0.titel: unknown key 'titel'; did you mean 'title'?"],
    ),
    "an unknown kind of signal": (
        "policies/signals.yaml", "kind: ratio", "kind: ration",
        [("policies/signals.yaml:4: signals.errors.kind: must be 'ratio', 'rate', 'gauge', 'distribution' or "
          "'throughput', and is 'ration'")],
    ),
    "a signal for an unknown source": (
        "policies/signals.yaml", "pretend:", "pretens:",
        ["policies/signals.yaml:6: signals.errors.pretens: unknown key 'pretens'; did you mean 'pretend'?"],
    ),
    "a signal that its source does not understand": (
        "policies/signals.yaml", "{metric: errors_total}", "{metrik: errors_total}",
        ["policies/signals.yaml:6: signals.errors.pretend.metric: is missing; add it",
         ("policies/signals.yaml:6: signals.errors.pretend.metrik: unknown key 'metrik'; "
         "did you mean 'metric'?")],
    ),
    "a signal written for another kind": (
        "policies/signals.yaml", "{metric: errors_total}", "{metric: errors_total, form: gauge}",
        [("policies/signals.yaml:6: signals.errors.pretend: "
          "is written for a gauge, but the signal is a ratio")],
    ),
    "a signal that says nothing to the region's source": (
        "policies/signals.yaml", "    pretend: {metric: errors_total}\n", "",
        [("policies/standard.yaml:12: checks.0.signal: 'errors' means nothing to the source 'pretend' of "
         "region R1; add 'pretend:' to it in policies/signals.yaml")],
    ),
    "a policy for an unknown region": (
        "policies/standard.yaml", "[R1]", "[R9]",
        ["policies/standard.yaml:10: stages.1.regions: unknown region 'R9'; known: R1, R3"],
    ),
    "a policy that checks an unknown signal": (
        "policies/standard.yaml", "signal: errors", "signal: error",
        ["policies/standard.yaml:12: checks.0.signal: unknown signal 'error'; did you mean 'errors'?"],
    ),
    "a policy that checks a signal of its own kind that no source can read": (
        "policies/standard.yaml", "signal: errors", "signal: timeouts, kind: ratio",
        [("policies/standard.yaml:12: checks.0.signal: 'timeouts' means nothing to the source 'pretend' of "
          "region R1; add 'pretend:' to it in policies/signals.yaml")],
    ),
    "a check whose kind is not what the source reads": (
        "policies/standard.yaml", "signal: errors", "signal: errors, kind: gauge",
        [("policies/standard.yaml:12: checks.0.kind: is a gauge, but 'pretend' reads 'errors' as a ratio; "
          "leave 'kind' out")],
    ),
    "a check of a segment that the signal does not have": (
        "policies/standard.yaml", "tolerance: 2", "segments: [far]",
        [("policies/standard.yaml:12: checks.0.segments: 'errors' has no segment 'far'; "
          "add it to it in policies/signals.yaml")],
    ),
    "a check that may be compared with nothing that its region has": (
        "policies/standard.yaml", "tolerance: 2", "baselines: [peers]",
        [("policies/standard.yaml:12: checks.0.baselines: R1 has nothing to compare 'errors' with: "
          "no region is upgraded after it; allow 'history' too, or put another region into a later stage")],
    ),
    "a direction that is none": (
        "policies/signals.yaml", "kind: ratio", "kind: ratio\n    direction: sideways",
        [("policies/signals.yaml:5: signals.errors.direction: must be 'up', 'down' or 'both', "
          "and is 'sideways'")],
    ),
    "a segment without labels": (
        "policies/signals.yaml", "kind: ratio", "kind: ratio\n    segments: {far: {}}",
        ["policies/signals.yaml:5: signals.errors.segments.far: needs at least 1 entry, and has 0"],
    ),
    "a segment whose label is no regular expression": (
        "policies/signals.yaml", "kind: ratio", "kind: ratio\n    segments: {far: {due: '(year'}}",
        [("policies/signals.yaml:5: signals.errors.segments.far.due: '(year' is not a regular expression: "
          "missing ), unterminated subpattern at position 0")],
    ),
    "a key of a signal that is nearly one of ours": (
        "policies/signals.yaml", "kind: ratio", "kind: ratio\n    no_date: ignore",
        ["policies/signals.yaml:5: signals.errors.no_date: unknown key 'no_date'; did you mean 'no_data'?"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "old", "new", "said"), WRONG.values(), ids=[key.replace(" ", "_") for key in WRONG]
)
def test_a_wrong_place_is_named_with_file_and_line(
    directory: Path, name: str, old: str, new: str, said: list[str]
) -> None:
    edit(directory, name, old, new)
    assert problems(directory) == said


def test_regions_whose_options_name_the_region_are_not_the_same(directory: Path) -> None:
    edit(directory, "regions.yaml", "directory: var/R3", 'directory: "var/{region}"')
    edit(directory, "regions.yaml", "directory: var/R1", 'directory: "var/{region}"')
    assert list(load_configuration(directory).regions) == ["R3", "R1"]


BASIC = "commands: {deploy: [./order], restore: [./order], verify: [./order]}"
HAPROXY = (
    f"{{socket: a:1, services: {{m: {{backend: m}}}}, through: {{kind: command, options: {{{BASIC}}}}}}}"
)


@pytest.mark.parametrize(
    ("kind", "options", "apart"),
    [
        ("command", f"{{{BASIC}}}", True),
        ("webhook", '{url: "https://deploy.example/orders", secret_env: SECRET}', True),
        ("process", "{directory: var, services: {}}", False),
        ("haproxy", HAPROXY, False),
    ],
)
def test_regions_may_share_a_deployer_whose_orders_say_the_region(
    directory: Path, kind: str, options: str, apart: bool
) -> None:
    for between, name in ((", ", "R3"), ("\n      ", "R1")):
        written = f"pretend{between}options: {{directory: var/{name}}}"
        edit(directory, "regions.yaml", written, f"{kind}{between}options: {options}")
    if apart:
        assert list(load_configuration(directory).regions) == ["R3", "R1"]
    else:
        assert f"so '{kind}' would move the same instances for both" in "".join(problems(directory))


def test_problems_of_several_files_come_in_one_error(directory: Path) -> None:
    edit(directory, "regions.yaml", "order: 2", "order: 1")
    edit(directory, "policies/standard.yaml", "bake: 15m", "bake: x")
    edit(directory, "policies/signals.yaml", "kind: ratio", "kind: x")
    assert [line.split(":")[0] for line in problems(directory)] == [
        "regions.yaml",
        "policies/signals.yaml",
        "policies/standard.yaml",
    ]


def test_two_policies_of_one_name_are_refused(directory: Path) -> None:
    text = (directory / "policies/standard.yaml").read_text()
    (directory / "policies/zweite.yaml").write_text(text)
    assert problems(directory) == [
        "policies/zweite.yaml:2: name: the policy 'standard' is in policies/standard.yaml too; rename one"
    ]


def test_bytes_that_are_not_utf8_are_refused_with_their_place(directory: Path) -> None:
    (directory / "policies/standard.yaml").write_bytes(b"apiVersion: rollout/v1\nname: \xff\n")
    assert problems(directory) == [
        "policies/standard.yaml:2: is not UTF-8 at byte 29: invalid start byte; save the file as UTF-8"
    ]


def test_a_file_beyond_its_limit_is_refused(directory: Path) -> None:
    (directory / "policies/standard.yaml").write_bytes(b"#" * 1_000_001)
    assert problems(directory) == ["policies/standard.yaml:1: is larger than 1000 kB; a policy is a page"]


def test_a_directory_without_files_says_which_are_missing(tmp_path: Path) -> None:
    said = problems(tmp_path)
    assert len(said) == 3
    assert f"there is no file {tmp_path / 'regions.yaml'}; create it" in said[0]
    assert "policies/signals.yaml: there is no file" in said[1]
    assert "there is no policy in" in said[2]


def test_a_policy_that_would_be_overlooked_is_refused(directory: Path) -> None:
    (directory / "policies/other.yml").write_text("name: other")
    assert problems(directory) == ["policies/other.yml: would not be read; rename it to other.yaml"]


def test_an_editors_hidden_file_is_not_read(directory: Path) -> None:
    (directory / "policies/.#standard.yaml").write_text("{{{")
    assert list(load_configuration(directory).policies) == ["standard"]


def test_a_directory_in_place_of_a_file_is_refused(directory: Path) -> None:
    (directory / "policies/odd.yaml").mkdir()
    assert problems(directory) == [f"policies/odd.yaml: is not a file; remove {directory}/policies/odd.yaml"]


@pytest.mark.skipif(os.name != "posix", reason="named pipes are a matter of POSIX")
def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(directory: Path) -> None:
    os.mkfifo(directory / "policies/pipe.yaml")
    assert "is not a file" in problems(directory)[0]


def test_a_file_that_may_not_be_read_says_so(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def refuse(path: Path, *arguments: Any, **named: Any) -> Any:
        if path.name == "regions.yaml":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", refuse)
    assert problems(directory) == [
        f"regions.yaml: {directory}/regions.yaml cannot be read: Permission denied; mend its permissions"
    ]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["regions.yaml", "policies/signals.yaml", "policies/standard.yaml"]),
    place=st.integers(0, 700),
    noise=st.binary(max_size=12),
    cut=st.integers(0, 12),
)
def test_no_bytes_raise_anything_but_invalid_input(
    directory: Path, name: str, place: int, noise: bytes, cut: int
) -> None:
    path = directory / name
    good = path.read_bytes()
    path.write_bytes(good[:place] + noise + good[place + cut :])
    named = 1
    try:
        load_configuration(directory)
    except InvalidInput as error:
        named = len(error.problems)
    finally:
        path.write_bytes(good)
    assert named


def test_a_check_may_say_the_kind_that_its_source_reads(directory: Path) -> None:
    edit(directory, "policies/standard.yaml", "signal: errors", "signal: errors, kind: ratio")
    assert list(load_configuration(directory).policies) == ["standard"]


def test_a_segment_is_narrowed_by_its_labels_and_near_names_are_offered(directory: Path) -> None:
    segments = "kind: ratio\n    segments: {near: {due: day}, far: {due: year}}"
    edit(directory, "policies/signals.yaml", "kind: ratio", segments)
    edit(directory, "policies/standard.yaml", "tolerance: 2", "segments: [near, far]")
    found = load_configuration(directory)
    plan = compile_plan(found.policies["standard"].policy, found.regions, found.signals)
    assert [check.signal for check in plan.checks] == ["errors{segment=near}", "errors{segment=far}"]
    assert plan.signals["errors{segment=far}"].segment == {"due": "year"}
    edit(directory, "policies/standard.yaml", "near, far", "nearr, far")
    assert problems(directory) == [
        "policies/standard.yaml:12: checks.0.segments: 'errors' has no segment 'nearr'; did you mean 'near'?"
    ]


@pytest.mark.parametrize(
    ("kind", "direction"), [("ratio", Direction.UP), ("throughput", Direction.DOWN), ("gauge", Direction.UP)]
)
def test_less_work_done_is_harm_and_more_of_all_else(
    directory: Path, kind: str, direction: Direction
) -> None:
    edit(directory, "policies/signals.yaml", "kind: ratio", f"kind: {kind}")
    edit(directory, "policies/signals.yaml", "errors_total", f"errors_total, form: {kind}")
    assert load_configuration(directory).signals["errors"].direction is direction


def test_a_signal_has_settings_for_checks_that_say_none(directory: Path) -> None:
    gauge = "kind: gauge\n    limit: 900\n    limit_for: 5m\n    no_data: ignore"
    edit(directory, "policies/signals.yaml", "kind: ratio", gauge)
    edit(directory, "policies/signals.yaml", "errors_total", "errors_total, form: gauge")
    edit(directory, "policies/standard.yaml", "{signal: errors, tolerance: 2}", "errors")
    assert settings_of(directory) == (900, 300, "ignore")
    edit(directory, "policies/standard.yaml", "- errors", "- {signal: errors, limit: 60, no_data: hold}")
    assert settings_of(directory) == (60, 300, "hold")
    edit(directory, "policies/standard.yaml", "limit: 60", "limit: null")
    assert settings_of(directory) == (None, 300, "hold")


def settings_of(directory: Path) -> tuple[float | None, float, str]:
    """What the only check of the only policy comes to."""
    found = load_configuration(directory)
    plan = compile_plan(found.policies["standard"].policy, found.regions, found.signals)
    return plan.checks[0].limit, plan.checks[0].limit_for, plan.checks[0].no_data
