"""Answers that no honest exchange gives, as bytes on a socket; and a certificate that nobody vouches for."""

import asyncio
import base64
import datetime as dt
import hashlib
import itertools
import re
import ssl
import zlib
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from raw_sockets import Serve

from runner.clock import SystemClock

FORGED = b'{"orderId":1,"symbol":"XRPUSDT","status":"FILLED","clientOrderId":"x","executedQty":"20","avgPrice":"0.5"}'
MEBIBYTE = bytes(2**20)
GIBIBYTE_CHUNKS = 1024


async def asked(reader: asyncio.StreamReader) -> bytes:
    """The head of one request."""
    return await reader.readuntil(b"\r\n\r\n")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def answering(data: bytes) -> Serve:
    """These bytes and the end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(data)
        await writer.drain()

    return serve


def redirecting(status: int, location: str) -> Serve:
    return answering(f"HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nConnection: close\r\n\r\n".encode())


def endlessly(head: bytes, part: bytes, *, pause_seconds: float = 0, count: int | None = None) -> Serve:
    """`head`, and then `part` again and again."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(head)
        for _ in itertools.count() if count is None else range(count):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_seconds)

    return serve


def bomb(encoding: str) -> Serve:
    """A gibibyte of zeros in about a megabyte."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
    first = packer.compress(MEBIBYTE) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(MEBIBYTE) + packer.flush(zlib.Z_FULL_FLUSH)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return endlessly(head + chunk(first), chunk(again), count=GIBIBYTE_CHUNKS)


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def whole(body: bytes, *, content_type: str = "application/json") -> Serve:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return answering(head.encode() + body)


def upgraded(head: bytes, *, extension: bytes = b"") -> bytes:
    """The answer that opens the websocket which `head` asks for."""
    key = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)
    assert key is not None, head
    accept = base64.b64encode(hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())  # noqa: S324 - RFC 6455.
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n" + extension + b"\r\n"
    )


def streaming(*frames: bytes, extension: bytes = b"", again: bytes = b"") -> Serve:
    """Opens a websocket and sends these bytes as they are; `again` without end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(upgraded(await asked(reader), extension=extension) + b"".join(frames))
        while again:
            writer.write(again)
            await writer.drain()
        await reader.read()

    return serve


def frame(first: int, payload: bytes, *, length: int | None = None) -> bytes:
    """A frame whose first byte is `first`, with a true length or a false one."""
    return bytes((first, 127)) + (len(payload) if length is None else length).to_bytes(8, "big") + payload


def self_signed(folder: Path) -> ssl.SSLContext:
    """The context of a server for localhost that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.fromtimestamp(SystemClock().now_ms() / 1000, dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "self-signed.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
