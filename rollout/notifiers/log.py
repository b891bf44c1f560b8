"""Notifier `log`: writes notices to the log and, where a file is named, as lines of JSON to that file."""

import asyncio
import json
import os
from dataclasses import asdict
from pathlib import Path

import structlog

from rollout.core.errors import TransientError
from rollout.ports import Notice
from rollout.registry import NOTIFIERS, Options, Surroundings


class LogOptions(Options):
    """`file` is appended to; a relative path begins at the directory of regions.yaml."""

    file: Path | None = None


@NOTIFIERS.register("log", LogOptions)
class LogNotifier:
    """Never loses a notice that it accepted: the file is on the disk before `send` returns."""

    def __init__(self, options: LogOptions, surroundings: Surroundings) -> None:
        self._file = None if options.file is None else surroundings.directory / options.file
        self._clock = surroundings.clock
        self._log = structlog.get_logger("rollout.notices")

    async def send(self, notice: Notice) -> None:
        """Write `notice`; urgent ones as warnings. Raises TransientError when the file cannot be written."""
        write = self._log.warning if notice.urgent else self._log.info
        write(notice.text, key=notice.key, rollout_id=notice.rollout_id, service=notice.service)
        if self._file is not None:
            line = json.dumps({"at": self._clock.now().isoformat(), **asdict(notice)})
            await asyncio.to_thread(self._append, self._file, line)

    def _append(self, file: Path, line: str) -> None:
        try:
            with file.open("a", encoding="utf-8") as out:
                out.write(line + "\n")
                out.flush()
                os.fsync(out.fileno())
        except OSError as error:
            raise TransientError(
                f"The notice could not be written to {file}: {error.strerror}. Check the path and the disk."
            ) from error
