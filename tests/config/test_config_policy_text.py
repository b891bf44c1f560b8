"""What is wrong in a policy's text is said with its line, its place and the mend."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rollout.config import parse_policy
from rollout.config.document import MAX_ALIASES, MAX_DEPTH, MAX_VALUES, read_document
from rollout.core.errors import InvalidInput
from rollout.core.policy import Bake, CheckSpec


def test_a_bare_name_is_a_check_with_nothing_but_defaults(policy: str) -> None:
    (short,) = parse_policy(policy.replace("{signal: errors, tolerance: 2}", "errors")).checks
    assert short == CheckSpec(signal="errors")


def test_a_policy_may_have_no_holdback(policy: str) -> None:
    none = parse_policy(policy.replace("90%", "100%") + "holdback: 0\n")
    assert none.holdback == 0


def refused(text: str) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        parse_policy(text, "standard", "policies/x.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_a_good_policy_is_read(policy: str) -> None:
    parsed = parse_policy(policy)
    assert parsed.name == "standard"
    assert [stage.regions for stage in parsed.stages] == [("R3",), ("R1",)]
    assert parsed.steps[1].bake == Bake(max=900)
    assert parsed.steps[3].bake == Bake(until="pass", min=900, max=7200)


WRONG = {
    "an unknown key says what was meant": (
        "bake: 15m",
        "baek: 15m",
        "policies/x.yaml:5: steps.1.baek: unknown key 'baek'; did you mean 'bake'?",
    ),
    "an unknown key inside a bake says what was meant": (
        "min: 15m",
        "mim: 15m",
        "policies/x.yaml:7: steps.3.bake.mim: unknown key 'mim'; did you mean 'min'?",
    ),
    "a missing name is offered": (
        "name: standard",
        "description: x",
        "policies/x.yaml:1: name: is missing; add 'name: standard'",
    ),
    "a missing key has the line of what it is missing from": (
        ", max: 2h",
        "",
        "policies/x.yaml:7: steps.3.bake.max: is missing; add it",
    ),
    "a duration needs a unit that is known": (
        "bake: 15m",
        "bake: 15 minutes",
        (
            "policies/x.yaml:5: steps.1.bake.max: '15 minutes' is not a duration; "
            "write for example 90s, 15m, 6h or 2d"
        ),
    ),
    "a list is no duration": (
        "steps:",
        "watch: [6h]\nsteps:",
        "policies/x.yaml:3: watch: must be a duration such as 90s, 15m or 6h",
    ),
    "a mapping is no duration": (
        "min: 15m",
        "min: {m: 15}",
        "policies/x.yaml:7: steps.3.bake.min: must be a duration such as 90s, 15m or 6h",
    ),
    "an empty duration is no duration": (
        "steps:",
        "watch:\nsteps:",
        "policies/x.yaml:3: watch: must be a duration such as 90s, 15m or 6h",
    ),
    "a stage name used twice is refused where it is used again": (
        "  - regions: [R3]\n  - regions: [R1]\n",
        "  - {name: apac, regions: [R3]}\n  - {name: apac, regions: [R1]}\n",
        "policies/x.yaml:10: stages.1.name: 'apac' is named more than once",
    ),
    "a duration has a longest": (
        "bake: 15m",
        "bake: 91d",
        "policies/x.yaml:5: steps.1.bake.max: '91d' is longer than 90d, the longest duration",
    ),
    "a negative duration is refused": (
        "bake: 15m",
        "bake: -5",
        "policies/x.yaml:5: steps.1.bake.max: must be greater than 0, and is -5",
    ),
    "a bake that never ends is refused": (
        "min: 15m",
        "min: 3h",
        "policies/x.yaml:7: steps.3.bake: min 10800s is longer than max 7200s: never ends",
    ),
    "a weight is at most 100": (
        "25%",
        "250%",
        "policies/x.yaml:4: steps.0.set_weight: must be at most 100, and is '250%'",
    ),
    "one of a few words lists them": (
        "until: pass",
        "until: passed",
        "policies/x.yaml:7: steps.3.bake.until: must be 'elapsed' or 'pass', and is 'passed'",
    ),
    "a list is not a word": (
        "[R3]",
        "R3",
        "policies/x.yaml:9: stages.0.regions: must be a list such as [a, b], and is 'R3'",
    ),
    "an empty list is refused": (
        "[R3]",
        "[]",
        "policies/x.yaml:9: stages.0.regions: needs at least 1 entry, and has 0",
    ),
    "true is not the number 1": (
        "tolerance: 2",
        "tolerance: 2, weight: true",
        "policies/x.yaml:12: checks.0.weight: needs a value of its own, and is true",
    ),
    "a segment named twice is refused where it is named again": (
        "tolerance: 2",
        "segments: [far, far]",
        "policies/x.yaml:12: checks.0.segments.1: 'errors{segment=far}' is named more than once",
    ),
    "a segment of a segment is refused": (
        "signal: errors, tolerance: 2",
        "signal: 'errors{segment=far}', segments: [near]",
        (
            "policies/x.yaml:12: checks.0.signal: 'errors{segment=far}' is a segment already; "
            "take 'segments' away"
        ),
    ),
    "a signal has its letters": (
        "signal: errors",
        "signal: failed requests",
        (
            "policies/x.yaml:12: checks.0.signal: must be letters, digits, '_', '.', ':' and '-', "
            "beginning with a letter, 128 at most, with '{segment=name}' behind it where it is one part "
            "of a signal, "
            "and is 'failed requests'"
        ),
    ),
    "a baseline that there is none of lists them": (
        "tolerance: 2",
        "baselines: [besides]",
        "policies/x.yaml:12: checks.0.baselines.0: must be 'beside', 'peers' or 'history', and is 'besides'",
    ),
    "a key of a check that is nearly one": (
        "tolerance: 2",
        "tolerence: 2",
        "policies/x.yaml:12: checks.0.tolerence: unknown key 'tolerence'; did you mean 'tolerance'?",
    ),
    "a region named twice is refused where it is named again": (
        "[R1]",
        "[R3]",
        "policies/x.yaml:10: stages.1.regions.0: 'R3' is named more than once",
    ),
    "a name has its letters": (
        "name: standard",
        "name: The Standard",
        (
            "policies/x.yaml:2: name: must be lower-case letters, digits and '-', beginning with a letter, "
            "63 at most, and is 'The Standard'"
        ),
    ),
    "an infinite number is refused": (
        "tolerance: 2",
        "tolerance: .inf",
        "policies/x.yaml:12: checks.0.tolerance: must be a finite number, and is .inf",
    ),
    "not a number is refused": (
        "tolerance: 2",
        "tolerance: .NaN",
        "policies/x.yaml:12: checks.0.tolerance: must be a finite number, and is .NaN",
    ),
    "a number beyond all is refused": (
        "tolerance: 2",
        "tolerance: 1e999",
        "policies/x.yaml:12: checks.0.tolerance: must be a finite number, and is 1e999",
    ),
    "a word of infinity is refused too": (
        "tolerance: 2",
        "limit: inf",
        "policies/x.yaml:12: checks.0.limit: must be a finite number, and is 'inf'",
    ),
    "a key written twice is refused with both lines": (
        "steps:\n",
        "name: again\nsteps:\n",
        "policies/x.yaml:3: the key 'name' is written twice; first in line 2",
    ),
    "a foreign tag is refused": (
        "name: standard",
        "name: !!python/object/apply:os.system [ls]",
        "policies/x.yaml:2: the tag !!python/object/apply:os.system is not supported; leave it out",
    ),
    "a merge key is refused": (
        "name: standard",
        "name: standard\n<<: {watch: 1h}",
        "policies/x.yaml:3: merge keys (<<) are not supported; write the keys out",
    ),
    "a key that is a list is refused": (
        "name: standard",
        "[a]: standard",
        "policies/x.yaml:2: a key must be a word, not a list or a mapping",
    ),
    "an alias of what is around it is refused": (
        "steps:",
        "loop: &loop\n  - *loop\nsteps:",
        "policies/x.yaml:3: holds an alias (*name) of something that it is part of",
    ),
    "a character that cannot be printed is refused": (
        "name: standard",
        "name: stan\x07dard",
        "policies/x.yaml:2: holds the character U+0007, which YAML does not allow; delete it",
    ),
}


@pytest.mark.parametrize(("old", "new", "problem"), WRONG.values(), ids=[k.replace(" ", "_") for k in WRONG])
def test_one_wrong_place_is_one_problem(policy: str, old: str, new: str, problem: str) -> None:
    assert old in policy
    assert refused(policy.replace(old, new, 1)) == [problem]


def test_an_open_bracket_says_where_it_began(policy: str) -> None:
    (problem,) = refused(policy.replace("[R1]", "[R1"))
    assert problem.startswith("policies/x.yaml:11: is not YAML: ")
    assert problem.endswith(" while parsing a flow sequence from line 10")


def test_a_great_many_wrong_places_are_counted(policy: str) -> None:
    problems = refused(policy + "".join(f"wrong{i}: 1\n" for i in range(500)))
    assert len(problems) == 51
    assert problems[-1] == "policies/x.yaml:1: and 450 more wrong places; mend these first"


def test_a_great_many_values_are_refused_before_they_are_read() -> None:
    (problem,) = refused("a: [" + "1," * (2 * MAX_VALUES) + "]")
    assert problem == f"policies/x.yaml:1: holds more than {MAX_VALUES} values; split it"


def test_every_wrong_place_is_named_at_once(policy: str) -> None:
    text = policy.replace("bake: 15m", "bake: x").replace("tolerance: 2", "tolerance: 0.5")
    assert [line.split(": ")[1] for line in refused(text)] == ["steps.1.bake.max", "checks.0.tolerance"]


def test_stages_that_would_never_be_whole_are_each_named_with_their_line(policy: str) -> None:
    problems = refused(policy.replace("90%", "80%"))
    assert [problem[:29] for problem in problems] == [
        "policies/x.yaml:9: stages.0: ",
        "policies/x.yaml:10: stages.1:",
    ]
    assert "must be 90 %, all but the holdback of 10 %" in problems[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "policies/x.yaml:1: is empty; docs/policy.md shows what belongs there"),
        ("# only a comment\n", "policies/x.yaml:1: is empty; docs/policy.md shows what belongs there"),
        ("- a\n", "policies/x.yaml:1: must be a mapping of keys to values, and is ['a']"),
        ("just words", "policies/x.yaml:1: must be a mapping of keys to values, and is 'just words'"),
        ("a" * 1_000_001, "policies/x.yaml:1: is larger than 1000 kB; a policy is a page"),
        ("a: 1\n---\nb: 2\n", "policies/x.yaml:2: is not YAML: but found another document expected a"),
    ],
    ids=["empty", "comment", "list", "words", "large", "two documents"],
)
def test_a_text_that_is_no_mapping_is_refused(text: str, problem: str) -> None:
    assert len(refused(text)) == 1
    assert refused(text)[0].startswith(problem)


def test_depth_has_a_limit() -> None:
    text = "a: " + "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert refused(text) == [f"policies/x.yaml:1: is nested more than {MAX_DEPTH} deep; write it flatter"]


def test_depth_costs_nothing_however_deep_it_is() -> None:
    assert refused("[" * 900_000) == [
        f"policies/x.yaml:1: is nested more than {MAX_DEPTH} deep; write it flatter"
    ]


def test_aliases_have_a_limit() -> None:
    text = "a: &a 1\nb:\n" + "  - *a\n" * (MAX_ALIASES + 1)
    assert refused(text) == ["policies/x.yaml:23: has more than 20 aliases (*name); write the values out"]


def test_few_aliases_that_explode_are_refused() -> None:
    rows = [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, 1]" for i in range(1, 11)]
    text = "\n".join(["a0: &a0 [" + "1," * 100 + "]", *rows])
    assert refused(text) == [
        f"policies/x.yaml:1: holds more than {MAX_VALUES} values; use fewer aliases (*name)"
    ]


def test_an_alias_of_a_whole_value_is_the_value(policy: str) -> None:
    text = policy.replace("bake: 15m", "bake: &short {max: 15m}").replace(
        "bake: {until: pass, min: 15m, max: 2h}", "bake: *short"
    )
    assert parse_policy(text).steps[3].bake == Bake(max=900)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("NO", "NO"),
        ("yes", "yes"),
        ("on", "on"),
        ("1:20", "1:20"),
        ("2026-01-01", "2026-01-01"),
        ("010", 10),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("!!float 5.5", 5.5),
        ("1e3", 1000.0),
        ("true", True),
        ("~", None),
        ("", None),
    ],
)
def test_plain_words_mean_what_they_look_like(written: str, value: object) -> None:
    assert read_document(f"a: {written}", "x.yaml").data == {"a": value}


def test_a_value_that_is_not_its_tag_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"x\.yaml:1: a: 'x' is not what its tag !!int says"):
        read_document("a: !!int x", "x.yaml")


def test_a_byte_order_mark_is_no_part_of_the_text(policy: str) -> None:
    assert parse_policy("\ufeff" + policy).name == "standard"


def test_a_lone_surrogate_from_json_is_refused(policy: str) -> None:
    assert refused(policy.replace("standard", "\ud800", 1)) == [
        "policies/x.yaml:2: holds the character U+D800, which YAML does not allow; delete it"
    ]


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PIECES = st.sampled_from(
    ["a", ": ", "- ", "\n", "  ", "{", "}", "[", "]", ",", "&x ", "*x", "!!int ", "!", "|", ">", "'", '"',
     "\\", "%", "#", "?", "<<: ", ".nan", "1e9", "stages", "steps", "bake", "regions", "null", "---",
     "...", "\t", "\\uD800", "\\U00110000", "\x85", "\u2028", "0x", "~"]
)  # fmt: skip


def reads_or_refuses(text: str) -> None:
    places = ["policy:"]
    try:
        parse_policy(text)
    except InvalidInput as error:
        places = [problem.place for problem in error.problems]
    assert places
    assert all(place.startswith("policy:") for place in places)


@FUZZ
@given(st.one_of(st.text(max_size=300), st.lists(PIECES, max_size=40).map("".join)))
@example('a: "\\U00110000"')
@example("a: !!timestamp 2026-99-99")
@example("!<tag:yaml.org,2002:map> [a]")
def test_no_text_raises_anything_but_invalid_input(text: str) -> None:
    reads_or_refuses(text)


@FUZZ
@given(data=st.data())
def test_no_change_of_a_good_policy_raises_anything_but_invalid_input(
    policy: str, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(policy)))
    end = data.draw(st.integers(start, min(len(policy), start + 20)))
    reads_or_refuses(policy[:start] + data.draw(st.lists(PIECES, max_size=5).map("".join)) + policy[end:])
