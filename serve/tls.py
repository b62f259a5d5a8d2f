"""TLS from the settings: version 1.2 or newer, ciphers with forward secrecy and authentication, and who clients are.

Source: NIST SP 800-52 Rev. 2, RFC 9325. TLS 1.3 has no other ciphers. Where clients bring certificates, no session is
resumed, so that each connection shows a certificate that is valid now.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from policies.errors import Unusable
from toolkit.settings import TlsSettings

__all__ = ["Loop", "TlsError", "certificate_of", "secured_by"]

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
MAX_FILE = 1_000_000
HANDSHAKE_S, GOODBYE_S = 10, 1


class TlsError(Unusable):
    """A certificate or a key with which nothing can be secured."""

    hints: ClassVar[Mapping[str, str]] = {
        "tls_missing": "Put the file where the settings name it under [serve.tls], readable by the server.",
        "tls_certificate": "Give a certificate in PEM, or in DER where one of a client is asked for.",
        "tls_key": "Give the unencrypted private key in PEM that belongs to the certificate.",
        "tls_client_ca": "Give the certificates of the authorities in PEM, one after the other.",
    }


def secured_by(settings: TlsSettings, folder: Path) -> ssl.SSLContext:
    """The context of a server with these settings, whose paths are relative to the folder. Raises TlsError."""
    certificate, key = _present(folder / settings.certificate), _present(folder / settings.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    with _readable("tls_certificate", f"{certificate} holds no certificate in PEM"):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certificate)
    with _readable("tls_key", f"{key} does not hold the private key of {certificate}"):
        # a key with a passphrase is refused: nobody is there to type it
        context.load_cert_chain(certificate, key, password=lambda: "")
    if settings.client_ca is not None:
        authorities = _present(folder / settings.client_ca)
        with _readable("tls_client_ca", f"{authorities} holds no certificate of an authority in PEM"):
            context.load_verify_locations(authorities)
        # a caller may bring a key or a token instead; one without any is refused by name, not by a broken connection
        context.verify_mode = ssl.CERT_OPTIONAL
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
    return context


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose servers wait for no client that stalls in a handshake, or says no goodbye.

    asyncio waits a minute for the one and half a minute for the other, and uvicorn passes nothing else on to it.
    """

    async def create_server(self, *given: Any, **named: Any) -> asyncio.Server:
        if named.get("ssl") is not None:
            named |= {"ssl_handshake_timeout": HANDSHAKE_S, "ssl_shutdown_timeout": GOODBYE_S}
        return await super().create_server(*given, **named)


def certificate_of(path: Path) -> bytes:
    """The first certificate in a file, in DER. Raises TlsError."""
    with _present(path).open("rb") as file:
        content = file.read(MAX_FILE)
    with _readable("tls_certificate", f"{path} holds no certificate"):
        begin, end = ssl.PEM_HEADER.encode(), ssl.PEM_FOOTER.encode()
        if begin in content:
            first = content[content.index(begin) : content.index(end) + len(end)]
            content = ssl.PEM_cert_to_DER_cert(first.decode("ascii"))
        read = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        read.load_verify_locations(cadata=content)
        if read.cert_store_stats()["x509"] != 1:
            raise ValueError("more than one")
    return content


def _present(path: Path) -> Path:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise TlsError("tls_missing", f"{path} cannot be read: {error.strerror}") from None
    return path


@contextmanager
def _readable(code: str, message: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError):  # as the ssl module says that it cannot read something
        raise TlsError(code, message) from None
