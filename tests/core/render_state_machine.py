"""Writes docs/state-machine.md from the tables: `python -m tests.core.render_state_machine`."""

from pathlib import Path

from rollout.core.machine import PHASES, REGION_PHASES, mermaid

PAGE = Path(__file__).parents[2] / "docs" / "state-machine.md"
INTRO = """# Phases

Rendered from the two tables in `rollout/core/machine.py` by `python -m tests.core.render_state_machine`;
a test compares them. What is not drawn here raises an error that names the phase and the trigger. What each
phase means is in [vocabulary.md](vocabulary.md).

From the first touched region on, every phase of a rollout has a way to `rolling_back`, and judging goes on
in all of them. `held` before a region was touched goes back to `queued`, so that the way back is proven anew.
"""


def block(name: str, diagram: str) -> str:
    """One diagram between its markers."""
    return f"<!-- {name}: begin -->\n```mermaid\n{diagram}```\n<!-- {name}: end -->\n"


def page() -> str:
    """The whole page."""
    return "\n".join(
        [
            INTRO,
            "## A rollout\n",
            block("rollout", mermaid(PHASES)),
            "## One region of it\n",
            "Regions of one stage move on their own.\n",
            block("region", mermaid(REGION_PHASES)),
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
