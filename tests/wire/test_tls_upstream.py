"""An upstream behind TLS: its certificate is checked, and nothing else is different."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.wire import OK, ask, get, post


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Make a key and a certificate for 127.0.0.1 that signs itself; gives the path of both in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "upstream.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
async def upstream(certificate):
    """A TLS server that answers every request; gives its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b"Content-Length: 2" in head:
                    await reader.readexactly(2)
                writer.write(OK)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        server.close()


async def test_requests_pass(upstream, running, certificate, monkeypatch):
    """Requests pass where the system trusts the certificate."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with running(upstream) as sidecar:
        for request in (get(), post("/", b"{}"), post("/", b"[]")):
            assert (await ask(sidecar.port, request)).body == b"ok"
        await sidecar.quiet()


async def test_an_unknown_certificate_is_no_upstream(upstream, running):
    """Where the certificate is not trusted, no request is sent."""
    async with running(upstream) as sidecar:
        assert (await ask(sidecar.port, get())).body == b"upstream_unavailable"
        await sidecar.quiet()
