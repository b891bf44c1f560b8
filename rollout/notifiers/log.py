"""Notifier `log`: writes notices to the log and, where a file is named, as lines of JSON to that file."""

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import structlog

from rollout.core.errors import TransientError
from rollout.ports import Notice
from rollout.registry import NOTIFIERS, Options, Surroundings

REMEMBERED = 1000  # keys; a forgotten one is in the log again when it is tried again


class LogOptions(Options):
    """`file` is appended to; a relative path begins at the directory of regions.yaml."""

    file: Path | None = None


@NOTIFIERS.register("log", LogOptions)
class LogNotifier:
    """Never loses a notice that it accepted: the file is on the disk before `send` returns.

    A disk that hangs takes one thread of its own, and none of those that others work with.
    """

    def __init__(self, options: LogOptions, surroundings: Surroundings) -> None:
        self._file = None if options.file is None else surroundings.directory / options.file
        self._clock = surroundings.clock
        self._log = structlog.get_logger("rollout.notices")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="notices")
        self._unwritten: dict[str, None] = {}  # keys that the log has and the file has not

    async def send(self, notice: Notice) -> None:
        """Write `notice`; urgent ones as warnings. Raises TransientError when the file cannot be written.

        A notice that is tried again because of the file is in the log once.
        """
        if notice.key not in self._unwritten:
            write = self._log.warning if notice.urgent else self._log.info
            write(notice.text, key=notice.key, rollout_id=notice.rollout_id, service=notice.service)
        if self._file is not None:
            self._remember(notice.key)
            at = notice.at or self._clock.now()
            line = json.dumps({**asdict(notice), "at": at.isoformat()})
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._append, self._file, line)
            self._unwritten.pop(notice.key, None)

    def _remember(self, key: str) -> None:
        self._unwritten[key] = None
        while len(self._unwritten) > REMEMBERED:
            del self._unwritten[next(iter(self._unwritten))]

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
