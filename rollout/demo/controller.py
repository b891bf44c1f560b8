"""`rollout serve` that ends when its standard input closes: a demo that crashed leaves none behind."""

import os
import signal
import sys

from rollout.cli import main
from rollout.supervisor import lifeline


def _end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    lifeline.on_close(_end)
    sys.argv[1:] = ["serve", *sys.argv[1:]]
    sys.exit(main())
