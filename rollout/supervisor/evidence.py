"""Keeping logs and exit reasons before they are gone: finding a cause takes longer than the way back."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rollout.supervisor import files
from rollout.supervisor.client import RegionFiles

LOG_BYTES = 65_536  # of each slot's log
KEPT = 20  # copies of a service; an older one goes


class Kept(BaseModel):
    """What was kept: unordered ends by reason and version, the copies, and the last lines of each slot."""

    exits: dict[str, int]
    logs: list[str]
    last_lines: dict[str, list[str]]


def keep_evidence(region: RegionFiles, service: str, key: str) -> dict[str, Any]:
    """Copy logs and exits of a service to evidence/{key}/. The same key again gives what was kept first.

    Only the newest 20 copies of a service stay. Raises OSError where files cannot be used.
    """
    target = region.directory / service / "evidence" / files.file_name(key)
    with region.locked(service) as directory:
        kept = _kept_before(target)
        if kept is not None:
            return kept.model_dump()
        shutil.rmtree(target, ignore_errors=True)  # a copy that was cut short
        files.private(target)
        logs = sorted((directory / "logs").glob("*.log"))
        for log in logs:
            (target / log.name).write_bytes(files.tail(log, LOG_BYTES))
        exits = region.exits(service)
        lines = "".join(one.model_dump_json() + "\n" for one in exits)
        (target / "exits.jsonl").write_text(lines, encoding="utf-8")
        kept = Kept(
            exits=dict(Counter(f"{one.reason} of {one.version}" for one in exits if not one.planned)),
            logs=[str(target / log.name) for log in logs],
            last_lines={log.stem: list(files.last_lines(log)) for log in logs},
        )
        files.write(target / "kept.json", kept)
        _prune(target)
        return kept.model_dump()


def _kept_before(target: Path) -> Kept | None:
    """What was kept under this key; None when nothing was, or its summary is damaged and is made anew."""
    try:
        return files.read(target / "kept.json", Kept)
    except ValueError:
        return None


def _prune(newest: Path) -> None:
    """Remove all but the newest copies beside `newest`, which stays whatever the clock says."""
    others = [one for one in newest.parent.iterdir() if one.is_dir() and one != newest]
    others.sort(key=lambda one: (one.stat().st_mtime_ns, one.name), reverse=True)
    for old in others[KEPT - 1 :]:
        shutil.rmtree(old, ignore_errors=True)  # what cannot go now is tried again at the next copy
