"""TLS from the settings: what it takes, and what is refused before anything listens."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from serve.tls import TlsError, certificate_of, secured_by
from tests.certificates import Authority, Pair
from toolkit.settings import TlsSettings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture(scope="module")
def server(authority: Authority) -> Pair:
    return authority.certified("server", server=True)


def settings(pair: Pair, client_ca: Path | None = None) -> TlsSettings:
    ca = None if client_ca is None else client_ca.name
    return TlsSettings(certificate=pair.certificate.name, key=pair.key.name, client_ca=ca)


def test_a_context_is_modern(folder: Path, server: Pair) -> None:
    context = secured_by(settings(server), folder)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE
    for cipher in context.get_ciphers():
        assert cipher["aead"], cipher
        assert cipher["protocol"] == "TLSv1.3" or cipher["kea"] == "kx-ecdhe", cipher


def test_with_authorities_clients_may_bring_certificates_and_resume_nothing(
    folder: Path, server: Pair, authority: Authority
) -> None:
    context = secured_by(settings(server, authority.file), folder)
    assert context.verify_mode == ssl.CERT_OPTIONAL
    assert (context.num_tickets, bool(context.options & ssl.OP_NO_TICKET)) == (0, True)


def shaken(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Server and client after the handshake, without a socket between them. Raises ssl.SSLError."""
    pipes = [ssl.MemoryBIO() for _ in range(4)]
    ends = [
        server.wrap_bio(pipes[0], pipes[1], server_side=True),
        client.wrap_bio(pipes[2], pipes[3], server_hostname="localhost"),
    ]
    for _ in range(4):
        for end in reversed(ends):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
            pipes[2].write(pipes[1].read())
            pipes[0].write(pipes[3].read())
    return ends[0], ends[1]


def client_of(authority: Authority, pair: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.file))
    if pair is not None:
        context.load_cert_chain(*pair)
    return context


def test_a_client_certificate_of_the_authority_reaches_the_server(
    folder: Path, server: Pair, authority: Authority
) -> None:
    pair = authority.certified("client")
    ours, theirs = shaken(secured_by(settings(server, authority.file), folder), client_of(authority, pair))
    assert theirs.version() == "TLSv1.3"
    assert ours.getpeercert(binary_form=True) == pair.der == certificate_of(pair.certificate)


def test_no_certificate_is_none(folder: Path, server: Pair, authority: Authority) -> None:
    ours, _ = shaken(secured_by(settings(server, authority.file), folder), client_of(authority))
    assert ours.getpeercert(binary_form=True) is None


@pytest.mark.parametrize("flaw", ["of another authority", "expired", "not valid yet", "of a server"])
def test_a_client_certificate_that_does_not_hold_ends_the_connection(
    folder: Path, server: Pair, authority: Authority, tmp_path: Path, flaw: str
) -> None:
    pair = {
        "of another authority": lambda: Authority(tmp_path, "another").certified("client"),
        "expired": lambda: authority.certified("expired", since=timedelta(hours=-3)),
        "not valid yet": lambda: authority.certified("early", since=timedelta(hours=3)),
        "of a server": lambda: authority.certified("other-server", server=True),
    }[flaw]()
    with pytest.raises(ssl.SSLError):
        shaken(secured_by(settings(server, authority.file), folder), client_of(authority, pair))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_are_refused(folder: Path, server: Pair, authority: Authority, version: ssl.TLSVersion) -> None:
    client = client_of(authority)
    client.minimum_version, client.maximum_version = version, version
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        shaken(secured_by(settings(server), folder), client)


Break = Callable[[Path, Pair], TlsSettings]

BROKEN: dict[str, tuple[Break, str]] = {
    "no certificate": (lambda _, pair: TlsSettings(certificate="nowhere.pem", key=pair.key.name), "tls_missing"),
    "no key": (lambda _, pair: TlsSettings(certificate=pair.certificate.name, key="nowhere.key"), "tls_missing"),
    "a folder": (lambda _, pair: TlsSettings(certificate=".", key=pair.key.name), "tls_missing"),
    "no authorities": (lambda folder, pair: settings(pair, folder / "nowhere.pem"), "tls_missing"),
    "a certificate that is a key": (
        lambda _, pair: TlsSettings(certificate=pair.key.name, key=pair.key.name),
        "tls_certificate",
    ),
    "a certificate that is noise": (
        lambda _, pair: TlsSettings(certificate="noise", key=pair.key.name),
        "tls_certificate",
    ),
    "a key that is a certificate": (
        lambda _, pair: TlsSettings(certificate=pair.certificate.name, key=pair.certificate.name),
        "tls_key",
    ),
    "the key of another": (
        lambda _, pair: TlsSettings(certificate=pair.certificate.name, key="another.key"),
        "tls_key",
    ),
    "a key with a passphrase": (
        lambda _, pair: TlsSettings(certificate="locked.pem", key="locked.key"),
        "tls_key",
    ),
    "authorities that are noise": (lambda folder, pair: settings(pair, folder / "noise"), "tls_client_ca"),
}


@pytest.mark.parametrize("flaw", BROKEN)
def test_what_secures_nothing_is_refused(folder: Path, authority: Authority, server: Pair, flaw: str) -> None:
    authority.certified("another", server=True)
    authority.certified("locked", server=True, password=b"secret")
    (folder / "noise").write_bytes(b"\x00\xffnoise" * 100)
    make, code = BROKEN[flaw]
    with pytest.raises(TlsError) as caught:
        secured_by(make(folder, server), folder)
    assert caught.value.code == code


def test_a_certificate_is_read_as_pem_and_as_der_and_the_first_of_a_chain(folder: Path, authority: Authority) -> None:
    pair = authority.certified("one")
    chain, der = folder / "chain.pem", folder / "one.der"
    chain.write_text("subject: one\n" + pair.certificate.read_text() + authority.file.read_text())
    der.write_bytes(pair.der)
    assert certificate_of(pair.certificate) == certificate_of(chain) == certificate_of(der) == pair.der


BEGIN, END = b"-----BEGIN CERTIFICATE-----\n", b"\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    "content", [b"", b"noise", BEGIN, BEGIN + b"\xff" + END, END + BEGIN, BEGIN + b"AAAA" + END, BEGIN + b"!" + END]
)
def test_what_is_no_certificate_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(TlsError) as caught:
        certificate_of(tmp_path / "file")
    assert caught.value.code == "tls_certificate"


def test_two_certificates_in_der_are_not_one(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "two.der").write_bytes(authority.certified("first").der + authority.certified("second").der)
    with pytest.raises(TlsError):
        certificate_of(tmp_path / "two.der")
