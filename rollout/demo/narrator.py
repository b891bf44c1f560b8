"""Tells the demo on the terminal: a live view of the regions on a TTY, plain lines elsewhere."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rollout.demo.account import Account

SHAPES = {
    "pending": "○",
    "deploying": "◔",
    "baking": "◐",
    "passed": "✔",
    "restoring": "↩",
    "restored": "✔",
    "unreachable": "?",
    "restore_failed": "✖",
}
BAD = ("rolling_back", "rollback_failed", "restoring", "restore_failed", "unreachable")


class Narrator:
    """Prints to standard output. Use as a context manager."""

    def __init__(self, *, plain: bool = False, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._begun = time.monotonic()
        self._live: Live | None = None
        if self.console.is_terminal and not plain:
            self._live = Live(console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "Narrator":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def chapter(self, title: str) -> None:
        """A new part of the story."""
        self.console.print()
        self._say(Text(title, style="bold"))

    def line(self, text: str) -> None:
        """Something that happened."""
        self._say(Text(text))

    def event(self, event: Mapping[str, Any]) -> None:
        """One transition of a rollout or of a region."""
        where = event["region"] or "rollout"
        style = "red" if event["to_phase"] in BAD else ""
        words = Text(f"{where:7} {event['to_phase']:13} ", style=style)
        self._say(words + Text(event["reason"]["text"]))

    def show(self, view: Mapping[str, Any]) -> None:
        """The live view; nothing where there is no terminal."""
        if self._live:
            self._live.update(lanes(view))

    def failed(self, text: str) -> None:
        """The demo could not be played to its end."""
        self._say(Text(f"The demo did not come to its end: {text}", style="red"))

    def kept(self, url: str, token_file: Path) -> None:
        """How to look around."""
        self.console.print()
        self.console.print(f"It goes on. Page: {url}/   log in with the token in {token_file}:")
        self.console.print(f"  cat {token_file}")
        self.console.print(f"On the command line: export ROLLOUT_URL={url} ROLLOUT_TOKEN_FILE={token_file}")
        self.console.print("  rollout list        rollout start mail-sender 1.2.1 --watch")
        self.console.print("Ctrl-C ends every process that was started.")

    def summary(self, told: Account) -> None:
        """Per region what happened when; the figures; what is true."""
        if self._live:
            self._live.stop()
            self._live = None
        self.console.print()
        self.console.print(_by_region(told))
        for label, value in _figures(told):
            self.console.print(f"  {label:44} {value}")
        self.console.print()
        for claim, holds in told.claims():
            mark, style = ("✔", "green") if holds else ("✖ NOT TRUE:", "red")
            self.console.print(Text(f"  {mark} {claim}", style=style))
        took = time.monotonic() - self._begun
        verdict = "All of it is true." if told.true else "Not all of it is true: see above."
        self.console.print(f"\n{verdict} {took:.0f} s.")

    def _say(self, text: Text) -> None:
        since = time.monotonic() - self._begun
        self.console.print(Text(f"{since:6.1f} s  ", style="dim") + text)


def lanes(view: Mapping[str, Any]) -> Table:
    """The regions of a rollout, one row each, with how far their bake has come."""
    table = Table(title=str(view["sentence"]), title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in ("region", "phase", "runs", "bake", "checks"):
        table.add_column(heading)
    for region in Account.regions(view):
        bake = region["bake"]
        progress = f"{bake['elapsed_s']} of {bake['planned_s']} s" if bake else ""
        runs = ", ".join(f"{count} × {version}" for version, count in sorted(region["running"].items()))
        checks = "  ".join(f"{check['signal']} {check['verdict']}" for check in region["checks"])
        shape = SHAPES[region["phase"]]
        table.add_row(region["region"], f"{shape} {region['phase']}", runs, progress, checks)
    return table


def _by_region(told: Account) -> Table:
    table = Table(title="What happened when (UTC)", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in ("region", told.good["version"], "passed", told.bad["version"], "passed", "restored"):
        table.add_column(heading)
    for good, bad in zip(told.regions(told.good), told.regions(told.bad), strict=True):
        passed = next(
            (e["at"] for e in told.events if e["region"] == bad["region"] and e["to_phase"] == "passed"),
            None,
        )
        table.add_row(
            bad["region"],
            _clock(good["touched_at"]),
            _clock(good["passed_at"]),
            _clock(bad["touched_at"]),
            _clock(passed),
            _clock(bad["restored_at"]),
        )
    return table


def _figures(told: Account) -> list[tuple[str, str]]:
    harm, decided, restored = told.harm_at, told.decided_at, told.restored_at
    detect = (decided - harm).total_seconds() if decided and harm else None
    back = (restored - decided).total_seconds() if restored and decided else None
    stops = sum(len(exits) for exits in told.exits.values())
    return [
        (
            "from harm (first process stopped) to decision",
            f"{detect:.1f} s" if detect is not None else "never",
        ),
        ("from decision to the last region read back", f"{back:.1f} s" if back is not None else "never"),
        ("processes that stopped by themselves", str(stops)),
        (f"requests that {told.bad['version']} answered", str(told.requests_exposed)),
        ("connections cut without an answer", str(told.broken)),
        ("sends accepted / delivered", f"{_accepted(told)} / {told.delivered}"),
        ("sends delayed / resumed / lost", f"{told.delayed} / {told.resumed} / {told.lost}"),
    ]


def _accepted(told: Account) -> int:
    return sum(row["accepted"] for row in told.sent.values())


def _clock(written: str | None) -> str:
    return written[11:19] if written else "never"
