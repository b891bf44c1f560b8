"""A plan as text: clock times, what each check is compared with, and what each bake can rule out. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.text import Text

View = Mapping[str, Any]


def plan(view: View) -> Text:
    """One line for each step, under its stage; what would stop it comes last."""
    policy = view["policy"]
    first = _first_time(view)
    lines = [
        Text(
            f"Plan for {view['service']} {view['version']}, policy {policy['name']}@{policy['revision']}. "
            f"Nothing was started; times are UTC, from {first:%Y-%m-%d %H:%M}.",
            style="bold",
        )
    ]
    for stage in view["stages"]:
        lines += _stage(stage, view["back_to"], first)
    lines.append(Text(f"  watched until {_time(view['watch_until'], first)}"))
    lines.append(Text(f"  checks: {', '.join(view['checks'])}"))
    lines += [Text(f"    {each['text']}", style="dim") for each in view["comparisons"]]
    lines += [Text.assemble(("  ! ", "yellow"), warning) for warning in view["warnings"]]
    lines += [_problem(problem) for problem in view["problems"]]
    return Text("\n").join(lines)


def _problem(problem: View) -> Text:
    return Text.assemble(("  ✖ ", "red"), f"Start would be refused: {problem['place']}: {problem['message']}")


def _first_time(view: View) -> datetime:
    return datetime.fromisoformat(view["stages"][0]["steps"][0]["at"])


def _stage(stage: View, back_to: Mapping[str, str | None], first: datetime) -> list[Text]:
    names = ", ".join(stage["regions"])
    good = ", ".join(sorted({back_to.get(name) or "nothing" for name in stage["regions"]}))
    lines = [Text.assemble((f"  {names}", "bold"), f"  back to {good}")]
    several = len(stage["regions"]) > 1
    for step in stage["steps"]:
        lines.append(Text(f"    {_time(step['at'], first)}  {step['what']}"))
        lines += [_detectable(each, several) for each in step["detectable"]]
    return lines


def _detectable(each: View, several: bool) -> Text:
    place = f"{each['region']} " if several else ""
    return Text(f"           {place}{each['text']}", style="dim")


def _time(text: str, first: datetime) -> str:
    """The time of day; with its date when that is not the first one."""
    at = datetime.fromisoformat(text)
    return f"{at:%H:%M}" if at.date() == first.date() else f"{at:%m-%d %H:%M}"
