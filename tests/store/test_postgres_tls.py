"""`sslmode` and `sslrootcert` of the URL, against a server with a certificate of its own making."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout.core.errors import StoreError
from rollout.store.engine import open_database
from tests.store.postgres_front import Front, certificate, front
from tests.store.postgres_lab import Server


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return certificate(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.fixture
def tls(postgres: Server, secured: tuple[Path, ssl.SSLContext]) -> Iterator[Front]:
    with front(postgres, secured[1]) as made:
        yield made


def opened(postgres: Server, port: int, host: str = "localhost", **options: object) -> str:
    """Open and close; what was opened."""
    written = "&".join(f"{name}={value}" for name, value in options.items())
    url = postgres.tcp("postgres").replace(f"127.0.0.1:{postgres.port}", f"{host}:{port}")
    database = open_database(f"{url}?{written}")
    database.close()
    return database.about


@pytest.mark.real
@pytest.mark.parametrize("mode", ["prefer", "require"])
def test_what_is_encrypted_without_a_look_at_the_certificate(postgres: Server, tls: Front, mode: str) -> None:
    assert opened(postgres, tls.port, sslmode=mode).startswith("PostgreSQL")
    assert tls.encrypted == 1


@pytest.mark.real
def test_nothing_is_encrypted_where_that_is_said(postgres: Server, tls: Front) -> None:
    assert opened(postgres, tls.port, sslmode="disable").startswith("PostgreSQL")
    assert tls.encrypted == 0


@pytest.mark.real
@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_server_that_cannot_encrypt_is_refused_where_that_is_required(postgres: Server, mode: str) -> None:
    with pytest.raises(StoreError, match=rf"127.0.0.1:{postgres.port}/postgres' does not encrypt.*ssl = on"):
        opened(postgres, postgres.port, "127.0.0.1", sslmode=mode)


@pytest.mark.real
@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_the_certificate_of_the_url_is_trusted(postgres: Server, tls: Front, secured: Any, mode: str) -> None:
    assert opened(postgres, tls.port, sslmode=mode, sslrootcert=secured[0]).startswith("PostgreSQL")
    assert tls.encrypted == 1


@pytest.mark.real
@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_a_certificate_that_nobody_vouches_for_is_refused(postgres: Server, tls: Front, mode: str) -> None:
    with pytest.raises(
        StoreError, match=r"localhost:\d+/postgres' is not trusted: self-signed.*with sslrootcert"
    ):
        opened(postgres, tls.port, sslmode=mode)


@pytest.mark.real
def test_a_certificate_of_another_than_the_named_one_is_refused(
    postgres: Server, tls: Front, tmp_path: Path
) -> None:
    other, _ = certificate(tmp_path, "localhost")
    for mode in ("require", "verify-ca", "verify-full"):
        with pytest.raises(StoreError, match=r"is not trusted: "):
            opened(postgres, tls.port, sslmode=mode, sslrootcert=other)


@pytest.mark.real
def test_a_certificate_for_another_host_is_refused_by_verify_full_only(
    postgres: Server, tls: Front, secured: Any
) -> None:
    named = {"host": "127.0.0.1", "sslrootcert": secured[0]}
    assert opened(postgres, tls.port, sslmode="verify-ca", **named).startswith("PostgreSQL")
    with pytest.raises(StoreError, match=r"is not trusted: .*not valid for '127.0.0.1'"):
        opened(postgres, tls.port, sslmode="verify-full", **named)


def test_certificates_that_cannot_be_read_are_said(postgres: Server, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"certificates in '.*nothing.pem' cannot be read: .*No such file"):
        opened(postgres, postgres.port, sslmode="verify-full", sslrootcert=tmp_path / "nothing.pem")
