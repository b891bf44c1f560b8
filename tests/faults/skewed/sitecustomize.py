"""A wall clock that jumps, for one process of the fault tests: it is off by what the file FAULTS_CLOCK says.

The stopwatch of the process (`time.monotonic`) is left alone, as by a real jump. Python itself loads this,
from PYTHONPATH, before anything of the controller.
"""

import datetime as whole
import os
import time

import apscheduler.executors.base
import apscheduler.schedulers.base
import apscheduler.triggers.interval

import rollout.clock

_FILE = os.environ.get("FAULTS_CLOCK", "")
_REAL, _REAL_TIME = whole.datetime, time.time  # noqa: TID251  # what is to be off


def _off_s() -> float:
    try:
        with open(_FILE, encoding="ascii") as file:
            return float(file.read() or 0)
    except (OSError, ValueError):
        return 0.0


class _Skewed(_REAL):
    @classmethod
    def now(cls, tz=None):
        return _REAL.now(tz) + whole.timedelta(seconds=_off_s())


if _FILE:
    time.time = lambda: _REAL_TIME() + _off_s()  # noqa: TID251
    for module in (
        rollout.clock,
        apscheduler.executors.base,
        apscheduler.schedulers.base,
        apscheduler.triggers.interval,
    ):
        module.datetime = _Skewed
