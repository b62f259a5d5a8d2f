"""What may be done to tokens of time by whoever hands evidence on, and what a verifier must say of it.

Each attack is made on evidence with two tokens that hold, of which its journal tells of the first; a thief may have the
day key. What must be found is thought out from docs/formats.md, "Tokens of time", not taken from a verifier. An attack
without a code is none: the token holds, in a way that few authorities choose.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from math import gcd
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from compliance.evidence.make import Papers, make
from compliance.evidence.period import bounds
from compliance.verify import der
from compliance.verify.archive import canonical, parsed
from compliance.verify.note import Note, cosigned
from compliance.verify.statements import JointHead
from compliance.verify.timestamp import CLOCKS, MAX_AGE, Kept, imprint
from tests.authorities import Between, TimeAuthority
from tests.forge import SECOND, Forge, signer
from tests.periods import WITNESS, Period, parts_of
from tests.stamps import AUTHORITY, HOUR, NONCE, added, kept, stamped, told_of
from tests.vectors.attacks_on_tokens import SIGNATURE, edited, part_of, replaced, token_attacks

__all__ = ["Attack", "Stamps", "attacks", "stamps_case"]

_NOTHING = der.encoded(der.NULL)


class Attack(NamedTuple):
    """What is done to evidence, what the auditor trusts (PEM), and what must be found: the code alone is of the token
    that was added. `here` is whether a browser can tell, which has fewer algorithms than the package."""

    name: str
    parts: dict[str, bytes]
    roots: bytes | None
    found: str | None
    here: bool = True


class Stamps(NamedTuple):
    """Evidence whose journal tells of its first token, and the head that other tokens are made for."""

    period: Period
    parts: dict[str, bytes]
    told: Kept
    note: str


@cache
def stamps_case() -> Stamps:
    with TemporaryDirectory() as name:
        folder = Path(name)
        period = stamped(folder / "journal")
        told, note = told_of(period), period.kept["joint within"]
        papers = Papers(period.folder / "policies", (), None, {"name": "clinic"}, {}, {}, (told, kept(note)))
        found = bounds(period.folder, None, None)
        make(folder / "e.zip", period.folder, found, period.walk(), period.source(), papers)
        return Stamps(period, parts_of(folder / "e.zip"), told, note)


@cache
def attacks() -> tuple[Attack, ...]:
    """Every attack; the same each time, apart from what is random in keys of RSA."""
    makers = (_files, _heads, _tokens, _signers, _said, _certificates, _chains, _unusual)
    return tuple(attack for make_ in makers for attack in make_(stamps_case()))


def _attack(name: str, case: Stamps, one: Kept, found: str | None, **more: Any) -> Attack:
    place = f"timestamps/{one.digest}.json"
    authority = more.pop("authority", AUTHORITY)
    parts = added(case.parts, one)
    # the tokens that hold lead to the root of the one, and this to that of the other
    return Attack(name, parts, more.pop("roots", AUTHORITY.pem + authority.pem), found and f"{place} {found}", **more)


def _token(name: str, case: Stamps, token: bytes, found: str | None, **more: Any) -> Attack:
    return _attack(name, case, kept(case.note, token=token), found, **more)


def _files(case: Stamps) -> Iterator[Attack]:
    """The files of tokens: removed, under another name, in another spelling."""
    one = case.told
    place, malformed = f"timestamps/{one.digest}.json", "timestamp_malformed"
    without = {name: content for name, content in case.parts.items() if name != place}
    yield Attack("token removed", without, None, f"{place} timestamp_missing")
    none = {name: content for name, content in case.parts.items() if not name.startswith("timestamps/")}
    yield Attack("all tokens removed", none, AUTHORITY.pem, f"{place} timestamp_missing")
    other = f"timestamps/{'0' * 64}.json"
    yield Attack("under another name", case.parts | {other: one.written()}, None, f"{other} {malformed}")
    swapped = case.parts | {place: kept(case.note).written()}
    yield Attack("of another file's name", swapped, None, f"{place} {malformed}")
    value = parsed(one.written())
    for what, content in (
        ("a space more", one.written() + b" "),
        ("cut", one.written()[:-9]),
        ("empty", b""),
        ("no object", b"[]"),
        ("no members", b"{}"),
        ("not UTF-8", b"\xff"),
        ("nested deep", b"[" * 20_000 + b"]" * 20_000),
        ("format of later", canonical(value | {"format": 2})),
        ("format as a truth", canonical(value | {"format": True})),
        ("a member more", canonical(value | {"note": ""})),
        ("nonce in capitals", canonical(value | {"nonce": "5EA1"})),
        ("nonce with a zero", canonical(value | {"nonce": "05ea1"})),
        ("nonce as a number", canonical(value | {"nonce": 5})),
        ("token as none", canonical(value | {"token": None})),
        ("token in another spelling", canonical(value | {"token": value["token"] + "\n"})),
        ("token of no bytes", canonical(value | {"token": ""})),
        ("head as none", canonical(value | {"head": None})),
        ("head without signature", canonical(value | {"head": one.note.text})),
        ("head of a shard", canonical(value | {"head": case.period.kept["within"]})),
        ("head with a witness", canonical(value | {"head": cosigned(one.note, 1, WITNESS).written()})),
        ("larger than may be", canonical(value | {"nonce": "1" * 1_000_000})),
    ):
        yield Attack(f"file {what}", case.parts | {place: content}, None, f"{place} {malformed}")
    large = base64.b64encode(one.token + bytes(65_537 - len(one.token))).decode()
    content = canonical(value | {"token": large})
    yield Attack("token larger than may be", case.parts | {place: content}, None, f"{place} {malformed}")


def _heads(case: Stamps) -> Iterator[Attack]:
    """Tokens that hold, over heads that are not of this history, this journal, or this period."""
    forge: Forge = case.period.forge
    head = JointHead.parsed(Note.parsed(case.note).text)
    (size, root), *rest = head.shards
    other = ((size, bytes(32)), *rest)
    foreign = Forge("other")
    foreign.shard().epoch()
    day = 86_400 * SECOND
    last = JointHead.parsed(Note.parsed(forge.joints[-1]).text)
    for what, note in (
        ("of another history", forge.by_day(JointHead(head.id, head.at, other).text(), head.at)),
        ("of another journal", foreign.joint()),
        ("under another journal's name", forge.by_day(JointHead("0" * 32, head.at, head.shards).text(), head.at)),
        ("by another key", forge.by_day(head.text(), head.at, signer("a thief"))),
        ("of a day without a key", forge.by_day(JointHead(head.id, head.at + 3 * day, head.shards).text(), head.at)),
        ("older than the period", forge.by_day(JointHead(head.id, head.at - day // 4, head.shards).text(), head.at)),
        ("younger than the period", forge.by_day(JointHead(head.id, last.at + SECOND, last.shards).text(), last.at)),
        ("over more than there is", forge.by_day(JointHead(head.id, head.at, ((size + 900, root), *rest)).text(),
                                                 head.at)),
    ):  # fmt: skip
        yield _attack(f"head {what}", case, kept(note), "timestamp_head")


def _tokens(case: Stamps) -> Iterator[Attack]:
    for one in token_attacks(kept(case.note).token):
        yield _token(one.name, case, one.token, one.code)


def _signers(case: Stamps) -> Iterator[Attack]:
    """Signatures of others than the authority, or with keys that are none for it."""
    thief = TimeAuthority("A thief")
    at = JointHead.parsed(Note.parsed(case.note).text).at + HOUR
    mine = AUTHORITY.token(imprint(Note.parsed(case.note).first()), NONCE, at)
    theirs = thief.token(imprint(Note.parsed(case.note).first()), NONCE, at)
    for what, token, other in (("of", mine, theirs), ("under", theirs, mine)):
        swapped = edited(token, SIGNATURE, replaced(part_of(other, SIGNATURE)))
        yield _token(f"signature {what} a thief", case, swapped, "timestamp_signature")
    yield _attack("another certificate named", case, kept(case.note, named=bytes(32)), "timestamp_signature")
    for what, key in (
        ("a weak key of RSA", rsa.generate_private_key(65537, 1024)),  # noqa: S505 - it must be refused
        ("a curve that is none of NIST's", ec.derive_private_key(7, ec.SECP256K1())),
        ("Ed25519", ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))),
    ):
        authority = TimeAuthority(f"With {what}", key=key)
        one = kept(case.note, authority=authority)
        yield _attack(f"signed with {what}", case, one, "timestamp_signature", authority=authority)


def _said(case: Stamps) -> Iterator[Attack]:
    """Tokens whose authority says something else than it was asked, or at another time."""
    head = JointHead.parsed(Note.parsed(case.note).text)
    at, seen = head.at + HOUR, imprint(Note.parsed(case.note).first())

    def token(imprinted: bytes, nonce: int | None) -> Kept:
        return kept(case.note, token=AUTHORITY.token(imprinted, nonce, at))

    yield _attack("of nothing", case, token(bytes(32), NONCE), "timestamp_imprint")
    yield _attack("of another head", case, token(imprint(case.told.note), NONCE), "timestamp_imprint")
    yield _attack("of half a head", case, token(seen[:16], NONCE), "timestamp_imprint")
    whole = imprint(Note.parsed(case.period.kept["joint after"]).first())
    yield _attack("of the head behind", case, token(whole, NONCE), "timestamp_imprint")
    yield _attack("with another nonce", case, token(seen, NONCE + 1), "timestamp_nonce")
    yield _attack("without a nonce", case, token(seen, None), "timestamp_nonce")
    yield _attack("for another request", case, kept(case.note, nonce=NONCE + 1), "timestamp_nonce")
    yield _attack("for a request below zero", case, kept(case.note, nonce=-NONCE), "timestamp_nonce")
    for what, after in (("before the head", -CLOCKS - SECOND), ("a year before", -365 * 24 * HOUR)):
        yield _attack(f"stamped {what}", case, kept(case.note, after=after), "timestamp_early")
    for what, after in (("long behind", MAX_AGE + SECOND), ("a year behind", 365 * 24 * HOUR)):
        yield _attack(f"stamped {what}", case, kept(case.note, after=after), "timestamp_late")


def _certificates(case: Stamps) -> Iterator[Attack]:
    """Certificates that are for something else than stamping time."""
    stamping, server = ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.SERVER_AUTH
    for what, usage in (
        ("for servers", ((server,), True)),
        ("for more than time", ((stamping, server), True)),
        ("for time twice", ((stamping, stamping), True)),
        ("for anything", ((ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,), True)),
        ("for time, which may be passed over", ((stamping,), False)),
        ("for nothing", None),
    ):
        authority = TimeAuthority(usage=usage)
        one = kept(case.note, authority=authority)
        yield _attack(f"a certificate {what}", case, one, "timestamp_usage", authority=authority)
        yield _attack(f"a certificate {what}, no root", case, one, "timestamp_usage", roots=None)


def _chains(case: Stamps) -> Iterator[Attack]:
    """Chains that lead to no root, or not at the time of the token."""
    day = datetime.fromtimestamp(JointHead.parsed(Note.parsed(case.note).text).at // SECOND, UTC)
    before, long_ago = day - timedelta(days=1), datetime(2021, 1, 1, tzinfo=UTC)
    unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    for what, authority in (
        ("an expired certificate", TimeAuthority(until=before)),
        ("a certificate of tomorrow", TimeAuthority(since=day + timedelta(days=2))),
        ("a chain through nobody", TimeAuthority(between=(Between(issues=False),))),
        ("a chain through an expired certificate", TimeAuthority(between=(Between(until=long_ago),))),
        ("a chain through a key that signs none", TimeAuthority(between=(Between(signs=False),))),
        ("a chain longer than it may be", TimeAuthority(between=(Between(length=0), Between()))),
        ("a chain of eleven", TimeAuthority(between=(Between(),) * 9)),
        ("a chain with an unknown limit", TimeAuthority(between=(Between(says=(unknown, True)),))),
    ):
        one = kept(case.note, authority=authority)
        yield _attack(what, case, one, "timestamp_chain", authority=authority)
        yield _attack(f"{what}, no root", case, one, None, roots=None)
    thief = TimeAuthority("A thief")
    yield _attack("an authority that nobody trusts", case, kept(case.note, authority=thief), "timestamp_chain")
    longer = TimeAuthority("In two steps", between=(Between(),))
    lost = kept(case.note, authority=longer, beside=())
    yield _attack("a chain with a certificate less", case, lost, "timestamp_chain", authority=longer)
    other = TimeAuthority("In two steps", between=(Between(), Between()))
    swapped = kept(case.note, authority=longer, beside=other.between[1:])
    yield _attack("a chain with another certificate", case, swapped, "timestamp_chain", authority=longer)


def _unusual(case: Stamps) -> Iterator[Attack]:
    """What holds: other algorithms, longer chains, and parts that a token may have or not."""
    rsa_key = rsa.generate_private_key(65537, 2048)
    for what, key, digest in (
        ("RSA with SHA-256", rsa_key, "sha256"),
        ("RSA with SHA-384", rsa_key, "sha384"),
        ("RSA with SHA-512", rsa_key, "sha512"),
        ("P-256 with SHA-512", None, "sha512"),
        ("P-384 with SHA-384", ec.derive_private_key(7, ec.SECP384R1()), "sha384"),
        ("P-521 with SHA-512", ec.derive_private_key(7, ec.SECP521R1()), "sha512"),
    ):
        authority = TimeAuthority(f"By {what}", key=key, digest=digest)
        yield _holds(what, case, authority)
    yield _holds("a root of RSA", case, TimeAuthority("Under RSA", root_key=rsa_key))
    yield _holds("a chain of three", case, TimeAuthority("In two steps", between=(Between(),)))
    yield _holds("a chain of ten", case, TimeAuthority("In nine steps", between=(Between(),) * 8))
    lengths = (Between(length=1), Between(length=0))
    yield _holds("a chain with lengths", case, TimeAuthority("By length", between=lengths))
    unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    yield _holds("an unknown remark", case, TimeAuthority("With a remark", between=(Between(says=(unknown, False)),)))
    yield _holds('a name with "odd", <parts>+; #', case, TimeAuthority(' "odd", <parts>+; \\ # é\x00 '))
    more = der.encoded(der.SEQUENCE, der.oid("1.2.840.113549.1.9.52"), der.encoded(der.SET, _NOTHING))
    for what, changes in (
        ("named by SHA-1", {"named_by": "sha1"}),
        ("named by SHA-384", {"named_by": "sha384"}),
        ("named by SHA-512", {"named_by": "sha512"}),
        ("a fraction of a second", {"fraction": ".123456789123"}),
        ("an attribute that is not known", {"more": (more, b"")}),
        ("a list of what is revoked", {"more": (b"", der.encoded(0xA1))}),
        ("at the edge before", {"after": -CLOCKS + SECOND}),
        ("at the edge behind", {"after": MAX_AGE - SECOND}),
    ):
        yield _attack(what, case, kept(case.note, **changes), None)
    own = AUTHORITY.certificate.public_bytes(Encoding.PEM)
    yield _attack("a certificate that is itself trusted", case, kept(case.note, after=2 * HOUR), None, roots=own)
    limits = x509.NameConstraints([x509.DNSName("example")], None)
    for what, authority in (
        ("a chain with limits of names", TimeAuthority("Limited", between=(Between(says=(limits, False)),))),
        ("a chain signed with PSS", TimeAuthority("Under PSS", root_key=rsa_key, pss=True)),
        ("a large exponent", TimeAuthority("With a large exponent", key=_large_exponent(rsa_key))),
    ):
        yield _holds(what, case, authority, here=False)


def _holds(what: str, case: Stamps, authority: TimeAuthority, here: bool = True) -> Attack:
    one = kept(case.note, authority=authority)
    return _attack(what, case, one, None, authority=authority, here=here)


def _large_exponent(key: rsa.RSAPrivateKey) -> rsa.RSAPrivateKey:
    """The key with the first exponent of more than 33 bits that it can have."""
    numbers = key.private_numbers()
    p, q = numbers.p, numbers.q
    phi = (p - 1) * (q - 1)
    e = next(e for e in range(2**34 + 1, 2**35, 2) if gcd(e, phi) == 1)
    d = pow(e, -1, phi)
    parts = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
    return rsa.RSAPrivateNumbers(p, q, d, *parts, rsa.RSAPublicNumbers(e, p * q)).private_key()
