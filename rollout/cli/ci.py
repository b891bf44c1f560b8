"""What a pipeline is told beside the lines: outputs, a note on the run, a summary, and a key for each run.

GitHub Actions reads files that GITHUB_OUTPUT and GITHUB_STEP_SUMMARY name, and commands such as `::error::`
in what a step prints. What must not live here: what a rollout's end means (exits.py).
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from rollout.cli.exits import Exit, Failure
from rollout.cli.session import Session
from rollout.showing.report import cell

_GITHUB = ("GITHUB_REPOSITORY", "GITHUB_SHA", "GITHUB_RUN_ID")
_GITLAB = ("CI_PROJECT_PATH", "CI_COMMIT_SHA", "CI_PIPELINE_ID")
_FINE = (Exit.SUCCEEDED, Exit.AWAITING_APPROVAL, Exit.HELD)
_SIGNS = {"pass": "✔ pass", "fail": "✖ fail", "undecided": "? undecided", "no_data": "∅ no data"}


def key_of_run(service: str) -> str | None:
    """The same for every attempt of one run of a pipeline, so that a repeated job starts nothing twice."""
    for names in (_GITHUB, _GITLAB):
        parts = [os.environ.get(name, "") for name in names]
        if all(parts):
            digest = hashlib.sha256("\0".join([*parts, service]).encode()).hexdigest()
            return f"run-{digest[:40]}"
    return None


def started(session: Session, view: Mapping[str, Any]) -> None:
    """Tell the steps that follow which rollout it is."""
    if _in_github():
        _write("GITHUB_OUTPUT", _outputs(session, view, str(view["phase"])))


def ended(session: Session, view: Mapping[str, Any], code: Exit) -> None:
    """Say how it ended, or where it stands: last on stderr is the reason with the link."""
    if _in_github():
        outcome = str(view.get("outcome") or view["phase"])
        _write("GITHUB_OUTPUT", _outputs(session, view, outcome))
        _write("GITHUB_STEP_SUMMARY", _summary(session, view))
        kind = "notice" if code in _FINE else "warning" if code is Exit.STILL_RUNNING else "error"
        title = _property(view["sentence"])
        said = _message(f"{view['reason']['text']} {session.link(view['id'])}")
        session.raw(f"::{kind} title={title}::{said}")
    if not session.json and not session.err.is_terminal:
        session.say(f"{one_line(view['reason']['text'])} {session.link(view['id'])}")


def gave_up(session: Session, view: Mapping[str, Any], failure: Failure) -> Exit:
    """The time to wait is over: say so, and where the rollout stands. Raises any other failure again."""
    if failure.exit_code is not Exit.STILL_RUNNING or not view:
        raise failure
    code = session.fail(failure)
    ended(session, view, code)
    return code


def one_line(text: str) -> str:
    """A sentence without line ends."""
    return " ".join(text.split())


def _in_github() -> bool:
    return os.environ.get("GITHUB_ACTIONS") == "true"


def _outputs(session: Session, view: Mapping[str, Any], outcome: str) -> str:
    return f"rollout-id={view['id']}\noutcome={outcome}\nurl={session.link(view['id'])}\n"


def _summary(session: Session, view: Mapping[str, Any]) -> str:
    checks = [check for stage in view["stages"] for region in stage["regions"] for check in region["checks"]]
    lines = [
        f"### {cell(view['sentence'])}",
        "",
        cell(view["reason"]["text"]),
        "",
        "| region | check | baseline | candidate | limit | verdict |",
        "|---|---|---|---|---|---|",
        *(_row(check) for check in checks),
        "",
        f"[{view['id']}]({session.link(view['id'])})",
        "",
    ]
    return "\n".join(lines if checks else [*lines[:4], *lines[-2:]])


def _row(check: Mapping[str, Any]) -> str:
    return _joined(
        [
            check["region"],
            check["title"],
            check.get("baseline_text") or "–",
            check.get("value_text") or "–",
            check.get("limit_text") or "–",
            _SIGNS.get(check["verdict"], check["verdict"]),
        ]
    )


def _joined(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell(each) for each in cells)} |"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def _write(variable: str, text: str) -> None:
    """Add to the file that the runner named; without one, nobody asked."""
    if file := os.environ.get(variable):
        with open(file, "a", encoding="utf-8") as opened:
            opened.write(text)
