"""Tokens of time held against a reader that is not ours: rfc3161-client, whose own verifier is in Rust."""

from __future__ import annotations

from cryptography import x509
from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

from compliance.verify import der
from compliance.verify.authority import roots_in
from compliance.verify.leaf import Broken
from compliance.verify.timestamp import Kept, imprint
from tests.vectors.attacks_on_timestamps import attacks, stamps_case

# what only one of both takes. Ours looks at the head's own time, at strong keys and at one spelling of each token
STRICTER = {
    "the certificate twice",
    "signer of version 3",
    "signature named as of Ed25519",
    "signature named as of PSS",
    "another certificate named",
    "signed with a weak key of RSA",
    "signed with a curve that is none of NIST's",
    "stamped before the head",
    "stamped a year before",
    "stamped long behind",
    "stamped a year behind",
    "a certificate for time twice",
}
LONG = "a chain of eleven"  # ours refuses it; whether the other finds it goes by the order of a set, another each run
WIDER = {"a fraction of a second", "a certificate that is itself trusted"}  # RFC 3161 section 2.4.2; RFC 5280 section 6


def theirs(kept: Kept, roots: tuple[bytes, ...]) -> bool:
    granted = der.encoded(der.SEQUENCE, der.integer(0))
    try:
        response = decode_timestamp_response(der.encoded(der.SEQUENCE, granted, kept.token))
        builder = VerifierBuilder().nonce(kept.nonce)
        for root in dict.fromkeys(roots):
            builder = builder.add_root_certificate(x509.load_der_x509_certificate(root))
        return builder.build().verify(response, imprint(kept.note))
    except (VerificationError, ValueError):
        return False


def ours(kept: Kept, roots: tuple[bytes, ...]) -> bool:
    try:
        kept.check(roots)
    except Broken:
        return False
    return True


def test_two_readers_take_the_same_tokens() -> None:
    known = stamps_case().parts
    said: dict[str, tuple[bool, bool]] = {}
    for attack in attacks():
        added = [content for name, content in attack.parts.items() if name.startswith("timestamps/")]
        added = [content for content in added if content not in known.values()]
        if len(added) == 1 and attack.roots is not None:
            try:
                kept = Kept.parsed(added[0])
            except Broken:
                continue  # the file around the token is ours alone
            said[attack.name] = ours(kept, roots_in(attack.roots)), theirs(kept, roots_in(attack.roots))
    assert not said.pop(LONG)[0]
    assert sum(both == (True, True) for both in said.values()) > 25
    assert sum(both == (False, False) for both in said.values()) > 140
    assert {name for name, both in said.items() if both == (False, True)} == STRICTER
    assert {name for name, both in said.items() if both == (True, False)} == WIDER
