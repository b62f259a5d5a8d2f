"""Keys on disk: of one kind each, never overwritten, never shown."""

from __future__ import annotations

import json
import stat
import traceback
from base64 import b64encode
from itertools import permutations
from pathlib import Path
from typing import get_args

import pytest

from compliance.crypto import Opener, Signer
from compliance.keys import KeyFault, Kind, fingerprint, from_text, kind_of, read_key, secret, to_text, write_key

SIGNER = Signer.generate()
OPENER = Opener.generate()
KEYS: dict[Kind, bytes] = {
    "approver-signing": SIGNER.private_bytes(),
    "auditor-private": OPENER.private_bytes(),
    "auditor-public": OPENER.public,
    "bundle-signing": SIGNER.private_bytes(),
    "bundle-verifying": SIGNER.public,
    "declaration-signing": SIGNER.private_bytes(),
    "declaration-verifying": SIGNER.public,
    "grant-signing": SIGNER.private_bytes(),
    "grant-verifying": SIGNER.public,
    "journal-root": SIGNER.private_bytes(),
    "journal-root-public": SIGNER.public,
    "journal-signing": SIGNER.private_bytes(),
    "sealing-private": OPENER.private_bytes(),
    "sealing-public": OPENER.public,
    "witness-signing": SIGNER.private_bytes(),
    "witness-verifying": SIGNER.public,
}
PRIVATE: tuple[Kind, ...] = (
    "approver-signing",
    "auditor-private",
    "bundle-signing",
    "declaration-signing",
    "grant-signing",
    "journal-root",
    "journal-signing",
    "sealing-private",
    "witness-signing",
)


def test_every_kind_is_tried_here() -> None:
    assert set(KEYS) == set(get_args(Kind))


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_is_read_as_it_was_written(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "key"
    write_key(path, kind, KEYS[kind])
    assert read_key(path, kind) == KEYS[kind]
    mode = stat.S_IMODE(path.stat().st_mode)
    assert mode == 0o600 if kind in PRIVATE else mode & 0o600 == 0o600


@pytest.mark.parametrize(("kind", "wanted"), list(permutations(KEYS, 2)))
def test_a_key_of_another_kind_is_refused_by_name(tmp_path: Path, kind: Kind, wanted: Kind) -> None:
    path = tmp_path / "key"
    write_key(path, kind, KEYS[kind])
    with pytest.raises(KeyFault, match=f"holds a {kind} key, a {wanted} key is needed") as refused:
        read_key(path, wanted)
    assert refused.value.code == "key_kind"


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_key(path, "journal-signing", KEYS["journal-signing"])
    before = path.read_bytes()
    with pytest.raises(KeyFault) as refused:
        write_key(path, "journal-signing", bytes(32))
    assert refused.value.code == "key_exists"
    assert path.read_bytes() == before


def test_a_link_to_nowhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFault) as refused:
        write_key(tmp_path / "key", "journal-signing", KEYS["journal-signing"])
    assert refused.value.code == "key_exists"
    assert not (tmp_path / "elsewhere").exists()


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path, tmp_path / "absent" / "key"):
        with pytest.raises(KeyFault, match=str(path)) as refused:
            read_key(path, "journal-signing")
        assert refused.value.code == "key_missing"


def file(**changes: object) -> bytes:
    good = {"format": 1, "kind": "journal-signing", "key": b64encode(KEYS["journal-signing"]).decode()}
    return json.dumps({name: value for name, value in {**good, **changes}.items() if value is not None}).encode()


MALFORMED = {
    "empty": b"",
    "no-json": b"-----BEGIN PRIVATE KEY-----",
    "no-utf-8": b"\xff\xfe",
    "a-list": b"[]",
    "deep": b"[" * 10_000,
    "no-format": file(format=None),
    "other-format": file(format=2),
    "format-as-text": file(format="1"),
    "unknown-kind": file(kind="journal"),
    "no-key": file(key=None),
    "unknown-field": file(comment="mine"),
    "no-base64": file(key="*" * 44),
    "url-base64": file(key="_" * 43 + "="),
    "unicode-base64": file(key="\u00e9" * 44),
    "spaces-in-base64": file(key=" ".join(b64encode(bytes(32)).decode())),
    "short": file(key=b64encode(bytes(31)).decode()),
    "long": file(key=b64encode(bytes(33)).decode()),
    "huge": file(key="A" * 1_000_000),
    "empty-key": file(key=""),
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_file_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(text)
    with pytest.raises(KeyFault) as refused:
        read_key(path, "journal-signing")
    assert refused.value.code == "key_malformed"


WHOLE = file().decode()
TEXT = b64encode(KEYS["journal-signing"]).decode()
SPOILT = [
    WHOLE.replace("journal-signing", "auditor-private"),
    WHOLE.replace("journal-signing", "bundle-signing"),
    WHOLE[:-1],
    WHOLE + "x",
    WHOLE.replace('"key"', '"k"'),
    WHOLE.replace(TEXT, TEXT + "="),
    WHOLE.replace(TEXT, TEXT[:-4]),
    WHOLE.replace(TEXT, TEXT[0] + TEXT),
]


@pytest.mark.parametrize("spoilt", SPOILT, ids=range(len(SPOILT)))
def test_nothing_of_a_key_is_shown_wherever_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: str
) -> None:
    (tmp_path / "key").write_text(spoilt)
    monkeypatch.setenv("SPOILT_KEY", spoilt)
    monkeypatch.chdir(tmp_path)
    for source in ("key", "env:SPOILT_KEY", "command:cat key", "command:sh -c 'cat key; exit 1'"):
        with pytest.raises(KeyFault) as refused:
            secret(source, "journal-signing")
        # with the locals of every frame but this one, as some loggers show them
        trace = traceback.StackSummary.extract(traceback.walk_tb(refused.tb.tb_next), capture_locals=True).format()
        assert trace
        shown = f"{refused.value!r} {refused.value.hint} {''.join(trace)}"
        forms = (TEXT, TEXT[:20], KEYS["journal-signing"].hex(), repr(KEYS["journal-signing"])[2:-1])
        assert [form for form in forms if form in shown] == []


def test_a_key_comes_from_a_file_the_environment_or_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my key").write_bytes(file())
    monkeypatch.setenv("AS_JSON", WHOLE)
    monkeypatch.setenv("AS_BASE64", b64encode(file()).decode() + "\n")
    sources = ["my key", "file:my key", f"file:{tmp_path}/my key", "env:AS_JSON", "env:AS_BASE64"]
    for source in (*sources, f"command:cat '{tmp_path}/my key'"):
        assert secret(source, "journal-signing", tmp_path) == KEYS["journal-signing"]
        with pytest.raises(KeyFault, match="holds a journal-signing key, a journal-root key is needed"):
            secret(source, "journal-root", tmp_path)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("absent", "key_missing"),
        ("env:ABSENT_KEY", "key_missing"),
        ("command:", "key_command"),
        ("command:cat 'unclosed", "key_command"),
        ("command:/no/such/program SECRET", "key_command"),
        ("command:true", "key_command"),
        ("command:sh -c 'echo SECRET; exit 1'", "key_command"),
        ("command:cat /dev/zero SECRET", "key_command"),
        ("command:echo SECRET | cat", "key_malformed"),  # there is no shell
    ],
)
def test_a_source_that_gives_no_key_is_named_without_its_arguments(source: str, code: str) -> None:
    with pytest.raises(KeyFault) as refused:
        secret(source, "journal-root")
    assert refused.value.code == code
    assert "SECRET" not in str(refused.value)


def test_a_command_that_hangs_is_ended_with_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compliance.keys._COMMAND_SECONDS", 0.2)
    with pytest.raises(KeyFault) as refused:
        secret("command:sh -c 'sleep 600 & wait'", "journal-root")
    assert refused.value.code == "key_command"


def test_the_kind_of_a_file_is_told_without_its_key(tmp_path: Path) -> None:
    write_key(tmp_path / "root.key", "journal-root", SIGNER.private_bytes())
    (tmp_path / "other").write_text("no key")
    kinds = [kind_of(tmp_path / name) for name in ("root.key", "other", "absent", ".")]
    assert kinds == ["journal-root", None, None, None]


def test_a_public_key_goes_through_settings_and_back() -> None:
    assert from_text(to_text(SIGNER.public)) == SIGNER.public
    assert to_text(bytes(32)) == "ed25519:" + "A" * 43 + "="


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ed25519:",
        "A" * 43 + "=",
        "rsa:" + "A" * 43 + "=",
        "ed25519:" + "A" * 43,
        "ed25519:" + "A" * 42 + "B=",  # bits behind the last byte: a second spelling
        "ed25519:ed25519:" + "A" * 43 + "=",
        "ed25519:" + "A" * 43 + "=\n",
        " ed25519:" + "A" * 43 + "=",
        "ed25519:" + "\u0661" * 44,
        "ed25519:" + "A" * 40,
        "ed25519:" + "A" * 48,
    ],
)
def test_another_spelling_of_a_public_key_is_refused(text: str) -> None:
    with pytest.raises(KeyFault) as refused:
        from_text(text)
    assert refused.value.code == "key_malformed"


def test_a_fingerprint_is_sha256_in_hexadecimal() -> None:
    assert fingerprint(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
