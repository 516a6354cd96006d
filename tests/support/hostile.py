"""Endpoints that misbehave in every way we know of, on loopback."""

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"
METADATA = b"http://169.254.169.254/latest/meta-data/"
CHUNK = b"x" * 65536
Behaviour = Callable[["Hostile", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Hostile:
    """What a hostile server saw, and how much it could write."""

    url: str = ""
    requests: int = 0
    written: int = 0
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def pour(self, writer: asyncio.StreamWriter, chunk: bytes = CHUNK) -> None:
        """Write for ever, as fast as the other side takes it."""
        while True:
            writer.write(chunk)
            await writer.drain()
            self.written += len(chunk)


async def hangs_at_headers(server: Hostile, reader: Any, writer: Any) -> None:
    await asyncio.Event().wait()


async def hangs_at_body(server: Hostile, reader: Any, writer: Any) -> None:
    writer.write(HEAD + b"content-length: 10\r\n\r\n12345")
    await asyncio.Event().wait()


async def drips(server: Hostile, reader: Any, writer: Any) -> None:
    writer.write(HEAD + b"content-length: 100000\r\n\r\n")
    while True:
        writer.write(b".")
        await asyncio.sleep(0.05)


async def endless_headers(server: Hostile, reader: Any, writer: Any) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    await server.pour(writer, b"x-more: " + b"y" * 4000 + b"\r\n")


async def endless_body(server: Hostile, reader: Any, writer: Any) -> None:
    writer.write(HEAD + b"content-length: 99999999999\r\n\r\n")
    await server.pour(writer)


async def endless_chunks(server: Hostile, reader: Any, writer: Any) -> None:
    writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n")
    await server.pour(writer, b"10000\r\n" + CHUNK + b"\r\n")


async def resets(server: Hostile, reader: Any, writer: Any) -> None:
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    writer.transport.abort()


async def leads_to_metadata(server: Hostile, reader: Any, writer: Any) -> None:
    writer.write(
        b"HTTP/1.1 301 Moved\r\nlocation: " + METADATA + b"\r\ncontent-length: 0\r\n\r\n"
    )


async def is_gone(server: Hostile, reader: Any, writer: Any) -> None:
    writer.write(b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n")


def throttles(retry_after: bytes) -> Behaviour:
    """429 with a header of one's own."""

    async def throttled(server: Hostile, reader: Any, writer: Any) -> None:
        head = b"HTTP/1.1 429 Slow\r\ncontent-length: 0\r\nretry-after: "
        writer.write(head + retry_after + b"\r\n\r\n")

    return throttled


async def shows_a_page(server: Hostile, reader: Any, writer: Any) -> None:
    page = b"<!DOCTYPE html><html>Request blocked</html>"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n"
    writer.write(head % len(page) + page)


async def bombs(server: Hostile, reader: Any, writer: Any) -> None:
    writer.write(
        HEAD + b"content-encoding: gzip\r\ncontent-length: 14\r\n\r\n" + b"\x1f\x8b" * 7
    )


async def says_nuls(server: Hostile, reader: Any, writer: Any) -> None:
    writer.write(b"HTTP/1.1 500 \x00\x00\r\ncontent-length: 4\r\n\r\n\x00\x00\x00\x00")


async def says_garbage(server: Hostile, reader: Any, writer: Any) -> None:
    writer.write(b"\x16\x03\x01 this is not http at all\r\n\r\n")


async def lies_about_length(server: Hostile, reader: Any, writer: Any) -> None:
    writer.write(HEAD + b"content-length: 50\r\n\r\nshort")


@asynccontextmanager
async def hostile(
    behaviour: Behaviour, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Hostile]:
    """A server that misbehaves in one way."""
    server = Hostile()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        server.tasks.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            server.requests += 1
            await behaviour(server, reader, writer)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/hook"
    try:
        yield server
    finally:
        listening.close()
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)


@contextmanager
def never_accepts() -> Any:
    """A port whose queue is full: a connection there is neither taken nor refused."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}/hook"
        for filler in fillers:
            filler.close()


@dataclass(frozen=True)
class Authority:
    """A certificate authority, and servers' certificates from it."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(
            key, _certificate("test authority", key, key, None, _in_days(-1), 30, ca=True)
        )

    def trusted(self) -> ssl.SSLContext:
        """A client that trusts this authority alone."""
        pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode()
        return ssl.create_default_context(cadata=pem)

    def pair(self, *, begins: int = -1, days: int = 30) -> tuple[str, str]:
        """A client's certificate and key, in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _certificate("hub", key, self.key, None, _in_days(begins), days)
        return made.public_bytes(serialization.Encoding.PEM).decode(), _pem(key).decode()

    def server(
        self, directory: Path, *, host: str = "127.0.0.1", begins: int = -1, days: int = 30
    ) -> ssl.SSLContext:
        """A server's context; ``begins`` and ``days`` say when its certificate is valid."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _certificate("partner", key, self.key, host, _in_days(begins), days)
        files = directory / "certificate.pem", directory / "key.pem"
        files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(_pem(key))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        return context


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _in_days(days: int) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(days=days)


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    host: str | None,
    begins: dt.datetime,
    days: int,
    *,
    ca: bool = False,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )
    if host:
        alternative: x509.GeneralName = x509.DNSName(host)
        with suppress(ValueError):
            alternative = x509.IPAddress(ipaddress.ip_address(host))
        builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), False)
    return builder.sign(signer, hashes.SHA256())
