"""The verb policy init: the first policy of a service, short, commented, and one that only observes."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from rollout.cli.exits import Exit, Failure
from rollout.cli.session import Session
from rollout.config import Configuration, load_configuration, parse_policy
from rollout.config.check import check_policy
from rollout.core.errors import InvalidInput
from rollout.settings import DEFAULT_POSITION

_CHECKS = ("errors", "latency", "restarts")
_DRAFT = """\
# How {about} is released. Every key: docs/policy.md
apiVersion: rollout/v1
name: {name}
mode: observe                   # its first rollout: decides and records, never acts; then make it enforce
holdback: 25%                   # keeps the version before: the exact comparison, and a warm way back
steps:                          # in every stage
  - set_weight: 75%             # 100 % less the holdback
  - bake: 1h                    # judged all the time; once it is enforced, harm rolls back at once
stages:                         # one after the other
{stages}
checks: [{checks}]   # what each means is in signals.yaml
watch: 6h                       # after the last region; what begins late is still seen
"""
_SCHEMA = "# yaml-language-server: $schema=schema.json\n"


def init(
    session: Session,
    service: Annotated[
        str | None, typer.Argument(help="The service; the policy gets its name.", show_default=False)
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Where to write it; else policies/ and the name.", metavar="FILE")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> Exit | None:
    """Write a first policy: it observes, so that nothing can go wrong while you learn to trust it."""
    name = service or "first"
    directory = session.settings.config
    wanted = file or _home(directory) / "policies" / f"{name}.yaml"
    try:
        configuration = load_configuration(directory, begun=False)
        text = _draft(name, service, configuration, wanted.parent)
        parse_policy(text, name, str(wanted))
        if configuration.signals:
            check_policy(text, configuration, str(wanted))
    except InvalidInput as error:
        raise Failure(str(error), Exit.USAGE, "rollout doctor") from error
    _write(wanted, text, _again(service, wanted), force)
    session.show({"file": str(wanted), "policy": name}, lambda seen: Text(seen["file"]))
    if not session.json:
        if not configuration.signals:
            session.say(_unsaid(configuration))
        session.say(_next(session, wanted, name, service or "SERVICE"))
    return None


def _home(directory: Path) -> Path:
    """The configuration in use, unless that is the shipped one, which an update would write over."""
    shipped = directory.is_relative_to(DEFAULT_POSITION.parent) and directory != Path.cwd()
    return Path.cwd() if shipped else directory


def _draft(name: str, service: str | None, configuration: Configuration, directory: Path) -> str:
    regions = sorted(configuration.regions.values(), key=lambda region: region.order)
    known = [check for check in _CHECKS if check in configuration.signals]
    text = _DRAFT.format(
        about=service or "a service",
        name=name,
        stages="\n".join(f"  - regions: [{region.name}]" for region in regions),
        checks=", ".join(known or _first(configuration) or _CHECKS),
    )
    return (_SCHEMA if (directory / "schema.json").is_file() else "") + text


def _first(configuration: Configuration) -> Sequence[str]:
    """What this machine can measure, where it has none of the usual signals."""
    return list(configuration.signals)[:3]


def _again(service: str | None, file: Path) -> str:
    """The same command, to be typed again: without the service it would write another policy."""
    return shlex.join(["rollout", "policy", "init", *([service] if service else []), "--file", str(file)])


def _write(file: Path, text: str, again: str, force: bool) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w" if force else "x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError as error:
        message = f"{file} is there already; nothing was written."
        raise Failure(message, Exit.USAGE, f"{again} --force (writes over it)") from error
    except OSError as error:
        message = f"{file} cannot be written: {error.strerror}."
        raise Failure(message, Exit.USAGE, "rollout policy init --file FILE") from error


def _unsaid(configuration: Configuration) -> str:
    """What has to be written beside the very first policy, and for which sources."""
    kinds = sorted({region.source.kind for region in configuration.regions.values()})
    return (
        f"There is no {configuration.directory / 'policies' / 'signals.yaml'} yet: say there what "
        f"{', '.join(_CHECKS)} mean to your source ({', '.join(kinds)}), or take checks of your own. "
        "docs/own-service.md has one to begin with."
    )


def _next(session: Session, file: Path, name: str, service: str) -> str:
    elsewhere = not file.is_relative_to(session.settings.config)
    hint = f"The server reads {session.settings.config}: put it into policies/ there.\n" if elsewhere else ""
    return (
        f"{hint}It only observes. Next:\n"
        f"  rollout policy validate {file}\n"
        f"  rollout service put {service} --policy {name}\n"
        f"  rollout start {service} VERSION --dry-run"
    )
