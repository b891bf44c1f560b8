"""The verb config show: what this machine is set to, and where each value comes from."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from pydantic import SecretStr
from rich.console import Group
from rich.table import Table
from rich.text import Text

from rollout.cli import render
from rollout.cli.exits import Exit
from rollout.cli.session import Session
from rollout.settings import DEFAULT_POSITION, Settings

_ENV = "ROLLOUT_"
_HIDDEN = "(set, not shown)"


def show(
    session: Session,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
) -> Exit | None:
    """Show every setting, and the files of regions and policies that are in use. No secret is shown."""
    settings = session.settings
    found = {
        "settings": [_setting(session, settings, name) for name in Settings.model_fields],
        "files": _files(settings.config),
    }
    session.show(found, lambda seen: _drawn(seen, origin))
    return None


def _setting(session: Session, settings: Settings, name: str) -> dict[str, Any]:
    value, origin = getattr(settings, name), _origin(session, settings, name)
    if name == "url" and not value:
        value, origin = settings.public_url, "default, of host and port"
    return {"name": name, "value": _shown(value), "origin": origin, "variable": _variable(name)}


def _origin(session: Session, settings: Settings, name: str) -> str:
    flag = session.flags.get(name)
    if flag is not None:
        return f"flag --{name.replace('_', '-')}"
    given = next((key for key in os.environ if key.upper() == _variable(name) and os.environ[key]), None)
    if given is not None:
        return f"environment {given}"
    if name == "config":
        return f"default, {_why(settings.config)}"
    if name == "token" and (session.flags.get("token_file") or settings.token_file):
        return "file, see token_file"
    own = settings.data / "admin-token"
    return f"file {own}" if name == "token" and own.is_file() and session.token() else "default"


def _why(directory: Path) -> str:
    if directory == Path.cwd():
        return "since regions.yaml is here"
    return "the shipped files" if directory.is_relative_to(DEFAULT_POSITION.parent) else "found"


def _variable(name: str) -> str:
    return f"{_ENV}{name.upper()}"


def _shown(value: Any) -> Any:
    """A value as it may be printed: never a token, nor the password of a database."""
    if isinstance(value, SecretStr):
        return _HIDDEN
    if isinstance(value, str) and "://" in value:
        return _without_password(value)
    return str(value) if isinstance(value, Path) else value


def _without_password(url: str) -> str:
    """Also where it is so odd that it cannot be taken apart."""
    try:
        secret = urlsplit(url).password
    except ValueError:
        return _HIDDEN
    return url.replace(f":{secret}@", ":***@") if secret else url


def _files(directory: Path) -> list[dict[str, Any]]:
    """What is read of the configuration; a place without a file is named too, since it is missed."""
    wanted = [directory / "regions.yaml", directory / "policies" / "signals.yaml"]
    policies = sorted((directory / "policies").glob("*.yaml"))
    names = [*wanted, *(file for file in policies if file not in wanted)]
    return [{"file": str(file), "found": file.is_file()} for file in names]


def _drawn(found: Mapping[str, Any], origin: bool) -> Group:
    return Group(_table(found["settings"], origin), Text(), *(_file(each) for each in found["files"]))


def _table(settings: list[dict[str, Any]], origin: bool) -> Table:
    heads = ("SETTING", "VALUE", *(("FROM",) if origin else ()))
    rows = [
        (each["variable"], _text(each["value"]), *((each["origin"],) if origin else ())) for each in settings
    ]
    return render.table(heads, rows)


def _text(value: Any) -> str:
    if value is None or value == "":
        return "–"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _file(each: Mapping[str, Any]) -> Text:
    return Text(f"{'✔' if each['found'] else '✖ missing:'} {each['file']}")
