"""The verb events: what happened, and with --follow what happens, without a gap."""

from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any

import typer
from rich.text import Text

from rollout.cli.exits import Exit
from rollout.cli.finding import find
from rollout.cli.session import Session
from rollout.cli.watching import history, line_of


def events(
    session: Session,
    ref: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="Rollout id, its beginning, or a service; everything when not given.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what happens from now on.")] = False,
    after: Annotated[
        int | None, typer.Option(min=0, help="Only what came after this sequence number.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None,
) -> Exit | None:
    """Print history, oldest first; with --json one object per line. Following everything begins now."""
    rollout_id = find(session, ref).body["id"] if ref else None
    begin = after if follow and rollout_id is None else after or 0
    found = session.remote.events(rollout_id, begin) if follow else history(session, rollout_id, after or 0)
    last = after or 0
    try:
        for event in islice(found, limit):
            last = event["sequence"]
            _print(session, event, named=rollout_id is None)
    except KeyboardInterrupt:
        again = " ".join(filter(None, ("rollout events", ref, "--follow --after", str(last))))
        session.say(f"Stopped following; nothing else stopped. To go on from here: {again}")
        return Exit.INTERRUPTED
    return None


def _print(session: Session, event: Mapping[str, Any], *, named: bool) -> None:
    if session.json:
        session.line(event)
    else:
        name = f"{event['rollout_id']} {event['service']}  " if named else ""
        session.out.print(Text.assemble(name, line_of(session, event)), soft_wrap=True)
