"""Signs what is read again without a database: HMAC-SHA256 with a key of this data directory.

It shows damage and changes by those who cannot read the key. Who can read it can sign: keep it elsewhere
(ROLLOUT_KNOWN_GOOD_KEY_FILE) where others can write the data directory.
"""

import fcntl
import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollout.core.errors import InvalidInput, StoreError

_BYTES = 32
_SCHEME = "hmac-sha256:"


class Seal:
    """A key in use."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, content: bytes) -> str:
        """The signature of some bytes."""
        return _SCHEME + hmac.new(self._key, content, hashlib.sha256).hexdigest()

    def holds(self, content: bytes, signature: object) -> bool:
        """Whether a signature is ours and of these bytes."""
        return isinstance(signature, str) and hmac.compare_digest(
            self.sign(content).encode(), signature.encode("utf-8", "replace")
        )


def read_seal(path: Path) -> Seal:
    """The key in a file. Raises InvalidInput when there is none, or it is not ours."""
    try:
        written = path.read_text(encoding="ascii").strip()
    except FileNotFoundError as error:
        raise InvalidInput(
            f"There is no key at {path}, so nothing that was signed can be trusted. A controller makes it at "
            "its first start; name its place with ROLLOUT_KNOWN_GOOD_KEY_FILE, or the directory with "
            "ROLLOUT_DATA."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        why = f"The key {path} cannot be read: {error}. Run it as the controller's user."
        raise InvalidInput(why) from error
    try:
        key = bytes.fromhex(written)
    except ValueError:
        key = b""
    if len(key) < _BYTES:
        raise InvalidInput(f"{path} holds no key of {2 * _BYTES} hexadecimal digits. Restore the file.")
    return Seal(key)


def make_seal(path: Path) -> Seal:
    """The key in a file, which is made when there is none. Raises InvalidInput and StoreError."""
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(_BYTES) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            pass  # another process was faster
        except OSError as error:
            raise StoreError(f"The key {path} cannot be made: {error.strerror}. Mend that.") from error
    return read_seal(path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time read and replace a file. Raises StoreError."""
    try:
        with path.with_suffix(".lock").open("a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise StoreError(f"{path} cannot be locked: {error.strerror}. Mend that.") from error


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in one step, so that a crash leaves the old one or the new one. Raises OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
        _flush(path.parent)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _flush(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
