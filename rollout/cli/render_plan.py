"""A plan as text: clock times, and what each bake can rule out. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.text import Text

View = Mapping[str, Any]


def plan(view: View) -> Text:
    """One line for each step, under its stage."""
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
    lines += [Text.assemble(("  ! ", "yellow"), warning) for warning in view["warnings"]]
    return Text("\n").join(lines)


def _first_time(view: View) -> datetime:
    return datetime.fromisoformat(view["stages"][0]["steps"][0]["at"])


def _stage(stage: View, back_to: Mapping[str, str | None], first: datetime) -> list[Text]:
    names = ", ".join(stage["regions"])
    good = ", ".join(sorted({back_to.get(name) or "nothing" for name in stage["regions"]}))
    lines = [Text.assemble((f"  {names}", "bold"), f"  back to {good}")]
    for step in stage["steps"]:
        lines.append(Text(f"    {_time(step['at'], first)}  {step['what']}"))
        found = step["detectable"].values()
        lines += [Text(f"           {text}", style="dim") for text in found]
    return lines


def _time(text: str, first: datetime) -> str:
    """The time of day; with its date when that is not the first one."""
    at = datetime.fromisoformat(text)
    return f"{at:%H:%M}" if at.date() == first.date() else f"{at:%m-%d %H:%M}"
