"""TLS to the database: certificates are checked as the address says, and what does not fit is a mistake."""

import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reportsim.store.errors import DatabaseMisconfigured
from reportsim.store.pool import connect
from tests.engine.delivery.wire.certificates import certified
from tests.pooler import pooled


@dataclass
class Server:
    """An address that takes TLS alone, and the certificate of whoever is behind it."""

    address: str
    certificate: Path

    def at(self, host: str, parameters: str) -> str:
        return f"{self.address.replace('127.0.0.1', host)}?{parameters}"


@pytest.fixture(scope="module")
def server(server_dsn: str) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="reportsim-tls-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        _, certificate = certified(folder, "localhost")
        key = certificate.with_suffix(".key")
        key.chmod(0o644)
        tls = f"client_tls_sslmode = require\nclient_tls_key_file = {key}\nclient_tls_cert_file = {certificate}"
        with pooled(server_dsn, extra=tls) as address:
            yield Server(address, certificate)


@pytest.mark.parametrize("parameters", ["", "sslmode=require", "ssl=true", "channel_binding=require"])
async def test_encryption_alone_asks_for_no_certificate(server: Server, parameters: str) -> None:
    connection = await connect(server.at("localhost", parameters))
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


@pytest.mark.parametrize("parameters", ["sslmode=verify-full", "sslmode=verify-ca", "sslmode=require"])
async def test_a_certificate_that_is_named_is_trusted(server: Server, parameters: str) -> None:
    connection = await connect(server.at("localhost", f"{parameters}&sslrootcert={server.certificate}"))
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_so_are_those_of_the_system(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
    for parameters in ("sslrootcert=system", "sslmode=require&sslaccept=strict"):
        connection = await connect(server.at("localhost", parameters))
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()


@pytest.mark.parametrize("parameters", ["sslrootcert=system", "sslmode=require&sslaccept=strict"])
async def test_one_that_nobody_signed_is_a_mistake(server: Server, parameters: str) -> None:
    with pytest.raises(DatabaseMisconfigured, match=r"^DATABASE_URL: .*certificate verify failed") as caught:
        await connect(server.at("localhost", parameters))
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


async def test_one_of_another_name_is_a_mistake(server: Server) -> None:
    with pytest.raises(DatabaseMisconfigured, match="certificate"):
        await connect(server.at("127.0.0.1", f"sslmode=verify-full&sslrootcert={server.certificate}"))


async def test_a_server_that_wants_tls_is_a_mistake_without_it(server: Server) -> None:
    with pytest.raises(DatabaseMisconfigured):
        await connect(server.at("localhost", "sslmode=disable"))
