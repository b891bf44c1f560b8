"""The verb report: the timeline of one rollout, to be read or kept."""

from enum import StrEnum
from typing import Annotated

import typer

from rollout.cli.exits import Exit
from rollout.cli.finding import find
from rollout.cli.reading import Ref
from rollout.cli.session import Session, visible
from rollout.client.client import path


class Form(StrEnum):
    """How a report is written."""

    MARKDOWN = "md"
    JSON = "json"


def report(
    session: Session,
    ref: Ref,
    form: Annotated[
        Form, typer.Option("--format", help="md to read, json for programs; --json is the same.")
    ] = Form.MARKDOWN,
) -> Exit | None:
    """Print what happened, why, who was reached, and how long it took."""
    rollout_id = find(session, ref).body["id"]
    if session.json or form is Form.JSON:
        session.line(session.remote.get(path(rollout_id, "report.json")).body)
    else:
        markdown = session.remote.text(path(rollout_id, "report.md"), "text/markdown")
        session.world.out.write(visible(markdown))
    return None
