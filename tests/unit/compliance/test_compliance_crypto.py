"""Every function against the published answer or an independent implementation, and every check against a mutation."""

from __future__ import annotations

import hashlib
import hmac
import traceback
from base64 import b64encode
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from compliance.crypto import Opener, Sealer, Signer, Unauthentic, derive, fresh, seal, sha256, unseal, verify

# RFC 8032 section 7.1, test 2
SECRET = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
MESSAGE = bytes.fromhex("72")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_sha256_is_that_of_fips_180_4_over_all_parts() -> None:
    assert sha256(b"a", memoryview(b"b"), b"c").hex() == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_derive_is_hmac_sha256_of_label_and_context() -> None:
    key = bytes(range(32))
    assert derive(key, b"row", b"x") == hmac.new(key, b"row\0x", hashlib.sha256).digest()
    assert len({derive(key, b"row"), derive(key, b"next"), derive(key, b"ro", b"w"), derive(bytes(32), b"row")}) == 4


def test_fresh_gives_the_size_and_never_the_same() -> None:
    assert len(fresh(16)) == 16
    assert len({fresh() for _ in range(1000)}) == 1000


def test_seal_is_aes_256_gcm_with_the_nonce_first() -> None:
    key = fresh()
    sealed = seal(key, b"a fresh one!", b"plaintext", b"place")
    assert AESGCM(key).decrypt(sealed[:12], sealed[12:], b"place") == b"plaintext"
    assert unseal(key, sealed, b"place") == b"plaintext"
    assert sealed[:12] == b"a fresh one!"


def test_unseal_refuses_every_flipped_bit_every_cut_and_every_other_key_or_place() -> None:
    key, other = fresh(), fresh()
    sealed = seal(key, b"a fresh one!", b"plaintext", b"place")
    altered = [
        sealed[:i] + bytes([sealed[i] ^ 1 << bit]) + sealed[i + 1 :] for i in range(len(sealed)) for bit in range(8)
    ]
    cases = [(key, case, b"place") for case in altered]
    cases += [(key, sealed[:end], b"place") for end in range(len(sealed))]
    cases += [(other, sealed, b"place"), (key, sealed, b"elsewhere"), (key, sealed + b"\0", b"place")]
    for case in cases:
        with pytest.raises(Unauthentic) as refused:
            unseal(*case)
        assert refused.value.code == "ciphertext"


def test_sign_gives_the_signature_of_rfc_8032() -> None:
    signer = Signer(SECRET)
    assert signer.public == PUBLIC
    assert signer.sign(MESSAGE) == SIGNATURE
    assert signer.private_bytes() == SECRET
    verify(PUBLIC, SIGNATURE, MESSAGE)


@pytest.mark.parametrize(
    ("public", "signature", "message"),
    [
        (PUBLIC, SIGNATURE, b"r\0"),
        (PUBLIC, SIGNATURE[:-1] + b"\x01", MESSAGE),
        (PUBLIC, b"\0" + SIGNATURE[1:], MESSAGE),
        (PUBLIC, SIGNATURE[:-1], MESSAGE),
        (PUBLIC, b"", MESSAGE),
        (PUBLIC, SIGNATURE + b"\0", MESSAGE),
        (PUBLIC[::-1], SIGNATURE, MESSAGE),
        (PUBLIC[:-1], SIGNATURE, MESSAGE),
        (b"", SIGNATURE, MESSAGE),
    ],
)
def test_verify_refuses(public: bytes, signature: bytes, message: bytes) -> None:
    with pytest.raises(Unauthentic) as refused:
        verify(public, signature, message)
    assert refused.value.code == "signature"


def test_verify_refuses_the_keys_under_which_one_signature_fits_every_message() -> None:
    """Those whose order divides 8; there are 8 points of it, some of which can be written in more than one way."""
    small = [key for key in candidates() if of_small_order(key)]
    assert len({decoded(key) for key in small}) == 8
    assert len(small) == 14
    for key in small:
        for message in map(bytes, range(16)):
            # (neutral element, 0): valid under the neutral element always, under the others for some messages
            with pytest.raises(Unauthentic):
                verify(key, b"\x01" + bytes(63), message)


P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]


def candidates() -> list[bytes]:
    """Every encoding of a point of small order: all y of such points and those at least p, with either sign."""
    order_8 = [
        int.from_bytes(bytes.fromhex(y), "little")
        for y in ("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",)
    ]
    y_values = [*order_8, *(P - y for y in order_8), P - 1, 0, 1, *range(P, 2**255)]
    return [(y | sign << 255).to_bytes(32, "little") for y in y_values for sign in (0, 1)]


def decoded(key: bytes) -> Point | None:
    """RFC 8032 section 5.1.3, but lenient as OpenSSL is: y may be p or more, and x = 0 may be called negative."""
    number = int.from_bytes(key, "little")
    y, sign = number % 2**255 % P, number >> 255
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P:
        return None
    return (P - x) % P if x % 2 != sign else x, y


def of_small_order(key: bytes) -> bool:
    point = decoded(key)
    if point is None:
        return False
    for _ in range(3):
        x, y = point
        product = D * x * x * y * y
        point = 2 * x * y * pow(1 + product, -1, P) % P, (y * y + x * x) * pow(1 - product, -1, P) % P
    return point == (0, 1)


def test_a_sealer_seals_for_its_opener_only() -> None:
    opener, other = Opener.generate(), Opener.generate()
    sealer = Sealer(opener.public)
    sealed = sealer.seal(b"epoch key", b"here")
    assert opener.open(sealed, b"here") == b"epoch key"
    assert Opener(opener.private_bytes()).open(sealed, b"here") == b"epoch key"
    assert sealer.seal(b"epoch key", b"here") != sealed
    altered = [sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :] for i in range(0, len(sealed), 37)]
    cases = [
        (other, sealed, b"here"),
        (opener, sealed, b"there"),
        (opener, b"", b"here"),
        (opener, sealed[:-1], b"here"),
    ]
    for key, text, info in [*cases, *((opener, text, b"here") for text in altered)]:
        with pytest.raises(Unauthentic) as refused:
            key.open(text, info)
        assert refused.value.code == "ciphertext"


@pytest.mark.parametrize("size", [0, 1, 31, 33, 95, 97, 1215, 1217])
@pytest.mark.parametrize("make", [Signer, Sealer, Opener])
def test_keys_of_a_wrong_size_are_refused(make: Callable[[bytes], object], size: int) -> None:
    with pytest.raises(Unauthentic) as refused:
        make(bytes(size))
    assert refused.value.code == "key_invalid"


def test_an_auditors_key_that_is_no_point_of_the_scheme_is_refused() -> None:
    # coefficients of ML-KEM are below 3329; FIPS 203 section 7.2 has them checked
    with pytest.raises(Unauthentic) as refused:
        Sealer(b"\xff" * 1216)
    assert refused.value.code == "key_invalid"


def test_an_auditors_key_with_an_x25519_half_of_small_order_is_refused() -> None:
    with pytest.raises(Unauthentic) as refused:
        Sealer(Opener.generate().public[:1184] + bytes(32))
    assert refused.value.code == "key_invalid"


@pytest.mark.parametrize("make", [Signer, Opener])
def test_keys_do_not_print_themselves(make: type[Signer] | type[Opener]) -> None:
    key = make.generate()
    secret = key.private_bytes()
    with pytest.raises(Unauthentic) as refused:
        make(secret + b"\0")
    shown = f"{key!r} {key} {refused.value!r} {''.join(traceback.format_exception(refused.value))}"
    for form in (secret.hex(), b64encode(secret).decode(), repr(secret)[2:-1]):
        assert form[:16] not in shown
