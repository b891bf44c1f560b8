"""`python -m rollout.cli`, where the command `rollout` is not on the path."""

import sys

from rollout.cli import main

if __name__ == "__main__":
    sys.exit(main())
