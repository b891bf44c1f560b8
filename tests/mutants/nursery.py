"""A process that has imported what the product needs of others, and forks a child for each run.

That saves seconds each time. Nothing of the product itself is imported before the fork, so that a child sees
the files as they are then. It reads a line of JSON for each run and answers with one. Run it in the copy, as
`python tests/mutants/nursery.py NAMES`; without a file of names it says what they are.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import sys
import time
import traceback
from pathlib import Path

OURS = ("rollout", "api", "tests", "bench", "__main__")
ENTRANCES = (
    "rollout.bootstrap",
    "rollout.cli.app",
    "api.app",
    "pytest",
    "pytest_asyncio.plugin",
    "hypothesis",
)
POLL_S = 0.02
LATE = "late"  # instead of an exit code


def names() -> str:
    """What the product imports of others, in order; asked in a process of its own."""
    for entrance in ENTRANCES:
        importlib.import_module(entrance)
    return "\n".join(name for name in sys.modules if name.partition(".")[0] not in OURS)


def serve(modules: list[str]) -> None:
    """Import them, and run what is asked for until nothing more is."""
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception:  # some can only be imported by others; then the child does it
            continue
    gc.freeze()  # children need not look through all of it
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            _child(asked)
        answer = {"exit": _ended(child, asked["within_s"])}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _child(asked: dict[str, object]) -> None:
    """Never returns."""
    os.setsid()
    output = os.open(str(asked["output"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for place, descriptor in enumerate((nothing, output, output)):
        os.dup2(descriptor, place)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for as long as the process
    code = 3
    try:
        sys.argv = list(asked["argv"])  # type: ignore[call-overload]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _ended(child: int, within_s: float) -> int | str:
    """Its exit code. One that takes too long is ended, with all that it started."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(POLL_S)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return LATE


if __name__ == "__main__":
    sys.path[0] = os.getcwd()  # the copy, and not this folder
    if len(sys.argv) > 1:
        serve(Path(sys.argv[1]).read_text("utf-8").split())
    else:
        sys.stdout.write(names())
