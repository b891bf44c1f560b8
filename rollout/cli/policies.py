"""Verbs about policies: validate a file without a server, show what the server has, print the schema."""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.table import Table
from rich.text import Text

from rollout.cli import render
from rollout.cli.exits import Exit, Failure
from rollout.cli.session import Session
from rollout.config import load_configuration, parse_policy, policy_schema
from rollout.config.check import check_policy
from rollout.core.errors import InvalidInput
from rollout.core.plan import Plan

MAX_BYTES = 1_000_000


def validate(session: Session, file: Annotated[Path, typer.Argument(help="A policy file.")]) -> Exit | None:
    """Check a policy file against regions.yaml and signals.yaml of this machine; needs no server."""
    text = _read(file)
    try:
        session.show(_facts(file, _checked(session, file, text)), _good)
    except InvalidInput as error:
        raise Failure(str(error), Exit.USAGE, f"mend it, then: rollout policy validate {file}") from error
    return None


def _checked(session: Session, file: Path, text: str) -> Plan:
    """The plan that the file makes here. Raises InvalidInput naming each wrong place, and Failure."""
    parse_policy(text, file.stem, str(file))
    directory = session.settings.config
    try:
        configuration = load_configuration(directory)
    except InvalidInput as error:
        said = f"{file} reads well by itself, but it cannot be checked against {directory}:\n{error}"
        raise Failure(said, Exit.USAGE, "rollout doctor") from error
    return check_policy(text, configuration, str(file))


def show(
    session: Session, name: Annotated[str | None, typer.Argument(help="A policy; all when not given.")] = None
) -> Exit | None:
    """Show the policies that the server uses, or one as it is written."""
    if name is None:
        session.show(session.remote.get("/v1/policies").body, _policies)
    else:
        policy = session.remote.get(f"/v1/policies/{quote(name, safe='')}").body
        session.show(policy, lambda seen: Text(seen["text"].rstrip("\n")))
    return None


def schema(session: Session) -> Exit | None:
    """Print the JSON Schema of policy files, for an editor."""
    found = policy_schema()
    if session.json:
        session.line(found)
    else:
        session.out.print_json(data=found)
    return None


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES + 1).decode("utf-8")
    except OSError as error:
        raise Failure(
            f"{file} cannot be read: {error.strerror}.", Exit.USAGE, "rollout policy validate FILE"
        ) from error
    except UnicodeDecodeError as error:
        raise Failure(
            f"{file} is not UTF-8 at byte {error.start}.", Exit.USAGE, "save it as UTF-8"
        ) from error


def _facts(file: Path, plan: Plan) -> dict[str, Any]:
    return {
        "file": str(file),
        "policy": plan.policy,
        "stages": [list(stage.regions) for stage in plan.stages],
        "checks": [check.signal for check in plan.checks],
    }


def _good(facts: dict[str, Any]) -> Text:
    stages = " → ".join(", ".join(regions) for regions in facts["stages"])
    checks = ", ".join(facts["checks"])
    return Text(f"✔ {facts['file']}: policy {facts['policy']}, {stages}; checks {checks}")


def _policies(page: dict[str, Any]) -> Table:
    rows = [(p["name"], str(p["revision"]), p["description"]) for p in page["items"]]
    return render.table(("POLICY", "REVISION", "DESCRIPTION"), rows)
