"""A small disk: a tmpfs where that may be mounted, else a bound on the size of the files of one process."""

import contextlib
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE = 24_000_000  # bytes
Act = Callable[[], None]


class NoMount(Exception):
    """A tmpfs cannot be mounted here; the text says why."""


@contextmanager
def small_disk(directory: Path) -> Iterator[Path]:
    """A file system of its own. Raises NoMount."""
    directory.mkdir(exist_ok=True)
    if os.getuid() != 0:
        raise NoMount("only root may mount a tmpfs")
    try:
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "faults", str(directory)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NoMount(f"mount cannot be run: {error}") from error
    if done.returncode != 0:
        raise NoMount(f"a tmpfs cannot be mounted: {done.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def fill(directory: Path) -> None:
    """Leave not one byte."""
    with (directory / "filler").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        for size in (65536, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)


def free(directory: Path) -> None:
    (directory / "filler").unlink()


def bound(pid: Callable[[], int], file: Path) -> tuple[Act, Act]:
    """What lets no file of a process grow beyond the size of the smallest, and what takes that back."""

    def full() -> None:
        sizes = [each.stat().st_size for each in file.parent.glob(f"{file.name}*")]
        resource.prlimit(pid(), resource.RLIMIT_FSIZE, (min(sizes), resource.RLIM_INFINITY))

    def empty() -> None:
        resource.prlimit(pid(), resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    return full, empty
