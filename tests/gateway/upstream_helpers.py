"""What the upstream tests share: running on both event loops, a pool that may reach the double, certificates."""

import asyncio
import datetime
import ipaddress
import json
import ssl
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from apps.core.outbound import Resolver
from apps.gateway.upstream import UpstreamPool, UpstreamResponse

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def run(loop: str, test: Callable[[], Awaitable[Any]]) -> Any:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(asyncio.wait_for(test(), 20))


async def loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@asynccontextmanager
async def open_pool(port: int, *, host: str = "127.0.0.1", **options: Any):
    """A pool that may reach `host`:`port`, whatever `host` is called; nothing is open when it ends."""
    options = {"connect_timeout": 2.0, "first_byte_timeout": 5.0, "idle_timeout": 5.0} | options
    resolver = Resolver(allowed_private={f"{host}:{port}"}, lookup=loopback)
    pool = UpstreamPool(resolver=resolver, **options)
    try:
        yield pool
    finally:
        await pool.close()
        assert pool.open_connections == 0


async def send(
    pool: UpstreamPool, base_url: str, text: str = "hi", *, seconds: float = 10.0, **body: Any
) -> UpstreamResponse:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]} | body
    headers = [(b"authorization", b"Bearer sk-test"), (b"content-type", b"application/json")]
    deadline = asyncio.get_running_loop().time() + seconds
    return await pool.send(f"{base_url}/chat/completions", headers, json.dumps(body).encode(), deadline=deadline)


async def until(condition: Callable[[], Any], seconds: float = 3.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def self_signed(names: list[str]) -> tuple[bytes, bytes]:
    """Return a throw-away certificate for `names` (host names or addresses) and its key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "provider double")])
    now = datetime.datetime.now(datetime.UTC)

    def alternative(name: str) -> x509.GeneralName:
        try:
            return x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            return x509.DNSName(name)

    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([alternative(each) for each in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def server_tls(tmp_path, names: list[str]) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the contexts of a server with a certificate for `names` and of a client that trusts it."""
    certificate, key = self_signed(names)
    path = tmp_path / "server.pem"
    path.write_bytes(certificate + key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    client = ssl.create_default_context()
    client.load_verify_locations(cadata=certificate.decode())
    return server, client
