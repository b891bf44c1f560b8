"""A pipe whose closing tells a process that its parent is gone, however the parent ended."""

import os
import threading
from collections.abc import Callable


def on_close(then: Callable[[], object], descriptor: int = 0) -> None:
    """Call `then`, in a thread of its own, once standard input is at its end."""

    def wait() -> None:
        try:
            while os.read(descriptor, 4096):
                pass
        except OSError:
            pass  # closed under us: the same message
        then()

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
