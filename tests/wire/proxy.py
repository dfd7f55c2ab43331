"""What stands between a client and a store: a proxy that changes bytes, and a relay that ends TLS.

Neither knows HTTP. What must come of changed bytes is asserted in the tests.
"""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"
_CHUNK = 2**16


class _Forwarder:
    """Accepts connections, and forwards each to a server, two threads a connection."""

    def __init__(self, port: int) -> None:
        self._server = (HOST, port)
        self._listener = socket.create_server((HOST, 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True, name="forwarder").start()

    def close(self) -> None:
        """Accept no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True, name="forwarded").start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), self._wrapped(client) as near, socket.create_connection(self._server) as far:
            forth, back = self._changes()
            thread = threading.Thread(target=_pump, args=(far, near, back), daemon=True, name="back")
            thread.start()
            _pump(near, far, forth)
            thread.join()

    def _wrapped(self, client: socket.socket) -> socket.socket:
        return client

    def _changes(self) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
        return _unchanged, _unchanged


def _unchanged(content: bytes) -> bytes:
    return content


def _pump(source: socket.socket, target: socket.socket, change: Callable[[bytes], bytes]) -> None:
    """Forward until the source hangs up, or either end breaks; then hang up on both, to end the other direction."""
    with suppress(OSError):
        while content := source.recv(_CHUNK):
            target.sendall(change(content))
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


class CorruptingProxy(_Forwarder):
    """Flips a bit of what passes, when it has been told to, in the middle of messages that are long enough.

    Parameters
    ----------
    port : int
        Where the server is.

    Attributes
    ----------
    port : int
        Where the proxy is.
    flipped : int
        How often it has done it.
    seen : bytearray
        The beginning of what clients sent, if it was told to listen: all of it but the bodies, which are cut short.
    """

    def __init__(self, port: int) -> None:
        self.flipped = 0
        self.seen = bytearray()
        self._times = {"upload": 0, "download": 0}
        self._at = 0
        self._lock = threading.Lock()
        super().__init__(port)

    def flip(self, direction: str, *, at: int, times: int) -> None:
        """Flip one bit in each of the next *times* messages that have so many bytes.

        Parameters
        ----------
        direction : str
            ``"upload"`` or ``"download"``.
        at : int
            Where in the message. What is sent until the other end answers is one message, headers included.
        times : int
            In how many messages.
        """
        with self._lock:
            self._times[direction] = times
            self._at = at

    def _changes(self) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
        counts = {"upload": 0, "download": 0}

        def change(direction: str, other: str, content: bytes) -> bytes:
            counts[other] = 0
            start, counts[direction] = counts[direction], counts[direction] + len(content)
            if direction == "upload" and start < 2**12:
                self.seen += content[: 2**12]
            return self._flipped(direction, start, content)

        return lambda content: change("upload", "download", content), lambda content: change(
            "download", "upload", content
        )

    def _flipped(self, direction: str, start: int, content: bytes) -> bytes:
        with self._lock:
            if not self._times[direction] or not start <= self._at < start + len(content):
                return content
            self._times[direction] -= 1
            self.flipped += 1
        changed = bytearray(content)
        changed[self._at - start] ^= 0x20
        return bytes(changed)


class TLSRelay(_Forwarder):
    """Speaks TLS with clients, and none with the server.

    Parameters
    ----------
    port : int
        Where the server is.
    directory : Path
        For the certificate, which it signs itself.
    """

    def __init__(self, port: int, directory: Path) -> None:
        self.certificate = directory / "certificate.pem"
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*_certify(directory, self.certificate))
        super().__init__(port)

    def _wrapped(self, client: socket.socket) -> socket.socket:
        return self._context.wrap_socket(client, server_side=True)


def _certify(directory: Path, certificate: Path) -> tuple[Path, Path]:
    """Write a new certificate of this address, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.timezone.utc)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private = directory / "key.pem"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private.write_bytes(key.private_bytes(*form))
    return certificate, private
