"""What every verb gets: where to print, whom to ask, and the settings. Tests replace `World`."""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO
from unicodedata import category
from urllib.parse import urlsplit

import httpx
import typer
from rich.console import Console, RenderableType
from rich.text import Text

from rollout.cli.exits import Exit, Failure
from rollout.cli.remote import Remote
from rollout.clock import SystemClock
from rollout.core.errors import InvalidInput
from rollout.ports import Clock
from rollout.settings import Settings, load_settings

WIDE = 1000  # columns where nobody watches, so that nothing is cut or wrapped in a file
_LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything outside that a verb touches. `transport` replaces the network."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    input: TextIO = field(default_factory=lambda: sys.stdin)
    transport: httpx.BaseTransport | None = None
    clock: Clock = field(default_factory=SystemClock)
    sleep: Callable[[float], None] = time.sleep
    prompt: Callable[[str], str] = lambda text: str(typer.prompt(text, err=True))


class Session:
    """One run of one verb. `url` and `token_file` are its flags; the environment comes after them."""

    def __init__(
        self, world: World, *, json: bool = False, url: str | None = None, token_file: Path | None = None
    ) -> None:
        self.world, self.json, self._url, self._token_file = world, json, url, token_file
        self.flags: Mapping[str, Any] = {"url": url, "token_file": token_file}
        self.out, self.err = console(world.out), console(world.err)

    @cached_property
    def settings(self) -> Settings:
        """The settings of this machine. Raises InvalidInput."""
        return load_settings(url=self._url)

    @cached_property
    def remote(self) -> Remote:
        """The server that the flags, the environment or the settings name."""
        return Remote(
            self.settings.public_url,
            self.token(),
            self.world.transport,
            sleep=self.world.sleep,
            clock=self.world.clock,
            away=self._away,
        )

    def _away(self, error: Exception, patience_s: float) -> None:
        self.say(f"{error} Asking again for {patience_s:g} s; the rollout does not depend on it.")

    def token(self) -> str | None:
        """The bearer token: flag, environment, or on the server's own machine the first admin's file.

        Raises InvalidInput for one that cannot be sent or read.
        """
        settings = self.settings
        if self._token_file is not None:
            settings = settings.model_copy(update={"token": None, "token_file": self._token_file})
        given = settings.bearer_token()
        own = settings.data / "admin-token"
        if given and not (given.isascii() and given.isprintable()):
            raise InvalidInput(
                "The token has characters that no token has; check ROLLOUT_TOKEN and ROLLOUT_TOKEN_FILE. "
                "A token is one word of letters, digits and _ that begins with rot_."
            )
        if given or urlsplit(settings.public_url).hostname not in _LOCAL:  # never sent to another machine
            return given
        try:
            return own.read_text(encoding="utf-8").strip() or None
        except OSError:
            return None

    @property
    def interactive(self) -> bool:
        """Whether a person can be asked."""
        return self.world.input.isatty() and self.world.err.isatty() and not self.json

    def show(self, data: Any, drawn: Callable[[Any], RenderableType]) -> None:
        """Print data to stdout: as JSON with --json, else as `drawn` draws it."""
        if self.json:
            self.line(data)
        else:
            self.out.print(drawn(visible(data)), soft_wrap=not self.out.is_terminal)

    def link(self, rollout_id: str) -> str:
        """The page of a rollout."""
        return f"{self.settings.public_url}/rollouts/{rollout_id}"

    def raw(self, text: str) -> None:
        """Write one line to stderr as it is, for a program that reads it."""
        self.world.err.write(text + "\n")
        self.world.err.flush()

    def line(self, data: Any) -> None:
        """Print one line of JSON to stdout at once."""
        self.world.out.write(json.dumps(data, ensure_ascii=False, default=_plain) + "\n")
        self.world.out.flush()

    def say(self, text: str | Text) -> None:
        """Talk to the person: stderr."""
        self.err.print(Text(visible(text)) if isinstance(text, str) else text, soft_wrap=True)

    def fail(self, failure: Failure) -> Exit:
        """Say what went wrong and what to try next: words, or one JSON object with --json. Both on stderr."""
        if self.json:
            told = {"message": failure.message, "exit_code": int(failure.exit_code), "next": failure.then}
            found = {"error": told, "problem": failure.problem}
            self.world.err.write(json.dumps(found, ensure_ascii=False, default=_plain) + "\n")
        else:
            self.say(Text.assemble(("✖ ", "bold red"), visible(failure.message)))
            self.say(f"  try: {failure.then}")
        return failure.exit_code

    def reason(self, given: str | None, command: str) -> str:
        """The reason that history will show: the flag, or asked of a person. Raises Failure without."""
        text = (given or "").strip()
        if not text and given is None and self.interactive:
            text = self.world.prompt(f"Reason to {command.split()[1]} (everybody will read it)").strip()
        if not text:
            message = "A reason is needed; history and everybody on call will read it. Give it with --reason."
            raise Failure(message, Exit.USAGE, f'{command} --reason "…"')
        return text


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def console(stream: TextIO) -> Console:
    """Colour only where a person watches and NO_COLOR is not set; never markup in what others wrote."""
    terminal = stream.isatty()
    coloured = terminal and not os.environ.get("NO_COLOR")
    return Console(
        file=stream,
        force_terminal=terminal,
        color_system="auto" if coloured else None,
        width=None if terminal else WIDE,
        markup=False,
        highlight=False,
        emoji=False,
    )


def visible(value: Any) -> Any:
    """The same data without control characters, so that nobody's text can drive the terminal of another."""
    if isinstance(value, str):
        return "".join("�" if category(c)[0] == "C" and c not in "\n\t" else c for c in value)
    if isinstance(value, Mapping):
        return {visible(key): visible(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [visible(item) for item in value]
    return value
