"""Read sealpress.toml, and hand it on as values."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta, Struct, structs

from compliance.keys import from_text
from compliance.trust import Scope, Trusted, all_trusted, trusted_with
from policies.cedar.packs import Parameter
from policies.errors import Unusable
from policies.facts import Purpose

__all__ = [
    "Settings",
    "SettingsError",
    "Trust",
    "distrusting",
    "found_settings",
    "read_settings",
    "trusting",
]

MAX_FILE = 1_000_000
NAME = "sealpress.toml"
VARIABLE = "SEALPRESS_SETTINGS"


class SettingsError(Unusable):
    """sealpress.toml, or something it names, cannot be used."""

    hints: ClassVar[Mapping[str, str]] = {
        "settings_not_found": "Run `sealpress init DIR`, then work inside DIR, or give --settings DIR/sealpress.toml.",
        "settings_malformed": "Correct the place that the message names; a new box from `sealpress init` shows how.",
        "settings_exist": "Choose another folder: init never overwrites a box or an auditor's key.",
        "settings_lost": "Restore the folder from its backup; to begin anew on purpose, remove the marker file too.",
        "settings_pack": "Name packs that this version ships, and rule files that exist beside the settings.",
        "settings_detector": "Name a bundle that labels tokens under [privacy], and labels that it has: "
        "`sealpress show` lists them.",
        "settings_trust": "Change the line yourself, between the brackets of `signers` under [trust].",
        "settings_signer": "`sealpress trust list` shows the signers with their keys and fingerprints.",
    }


class Box(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who runs here. `tenant` and `actor` stand in every record of a call that brings none of its own; `region` is
    where the machine stands, as a country code."""

    name: str
    region: str | None = None
    tenant: str = "local"
    actor: str = "local"


class Trust(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom this box trusts: a public key, as ed25519:..., is one whose bundles and proofs of policies are accepted; a
    table says more (compliance.trust.Trusted)."""

    signers: tuple[str | Trusted, ...]

    def of(self, scope: Scope, at: int) -> frozenset[str]:
        """The keys of those who are trusted with this at the time `at` (ns)."""
        return trusted_with(self.signers, scope, at)


class JournalSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The public key of the journal's root, as ed25519:..., and how its records are kept.

    A `durable` record is on the disk before the model runs; a power cut can lose one that is only `buffered`.
    `retain_days` is for records of no declared purpose, which are kept without it.
    """

    root: str
    durability: Literal["buffered", "durable"] = "buffered"
    retain_days: Annotated[int, Meta(ge=1)] | None = None


class KeySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the key that signs bundles comes from, and the one that opens those that are sealed to this box:
    `file:PATH`, `env:NAME` or `command:PROGRAM ARGUMENT ...`."""

    bundle: str = "file:keys/bundle.key"
    sealing: str = "file:keys/sealing.key"


class WitnessSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who co-signs this box's heads: the public key, as ed25519:..., and the address, none when heads go by hand."""

    key: str
    url: str | None = None


class TimestampSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which authorities for time are trusted: files of their root certificates (PEM), relative to the settings."""

    roots: Annotated[tuple[str, ...], Meta(min_length=1)]


class PolicySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Packs by name, what fills their parameters, and the user's own files of rules, cases and claims, relative to the
    settings. With `prove`, nothing is put in force whose claims are not proved."""

    packs: tuple[str, ...] = ("base", "gdpr", "licence")
    rules: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    prove: bool = False
    parameters: dict[str, dict[str, Parameter]] = {}


class GrantSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which models run under a usage grant only: NAME or NAME@VERSION, where a * at the end of either stands for any
    ending. For `lease_s` seconds what a call may use is held for it; a call that takes longer gets no answer."""

    models: tuple[str, ...] = ()
    lease_s: Annotated[int, Meta(ge=1, le=86_400)] = 300


class CompressSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Kinds of steps from other packages that a recipe may name. Their code is run when it does."""

    steps: tuple[str, ...] = ()


class OverrideSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may approve an override, by name, with the public key of each."""

    approvers: dict[str, str] = {}


class PrivacySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bundle that labels tokens, which looks at the input of every call. What it finds with a probability below
    `score` does not count. `labels` maps its labels to categories; those left out do not count, and without the table
    the usual names do (toolkit.detector.LABELS)."""

    detector: str | None = None
    score: Annotated[float, Meta(ge=0, le=1)] = 0.5
    labels: dict[str, str] | None = None


class TracesSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where traces go: the whole address of a collector that speaks OTLP over HTTP, and the share of requests that are
    traced."""

    endpoint: Annotated[str, Meta(pattern=r"^https?://[^\s/@?#]+(/[^\s?#]*)?$")]
    ratio: Annotated[float, Meta(gt=0, le=1)] = 1.0


class TlsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The server's certificate with its chain, and its private key, both in PEM; with `client_ca`, also in PEM, clients
    may bring certificates of these authorities."""

    certificate: str
    key: str
    client_ca: str | None = None


class JwtSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose tokens are accepted: a file with the issuer's public keys (JWKS), what a token must say as `iss` and `aud`,
    and by which algorithms it may be signed.

    `leeway_s` is how far the clocks may be apart, in seconds. Where a claim is named, every token must have it.
    """

    jwks: str
    issuer: Annotated[str, Meta(min_length=1)]
    audience: Annotated[str, Meta(min_length=1)]
    algorithms: Annotated[tuple[Literal["EdDSA", "ES256", "RS256", "PS256"], ...], Meta(min_length=1)] = (
        "EdDSA",
        "ES256",
    )
    leeway_s: Annotated[int, Meta(ge=0, le=300)] = 30
    tenant_claim: str | None = None
    models_claim: str | None = None
    purposes_claim: str | None = None
    regions_claim: str | None = None

    def claims(self) -> dict[str, str]:
        """The claims that are named, by what they hold."""
        found = {name: getattr(self, f"{name}_claim") for name in ("tenant", "models", "purposes", "regions")}
        return {name: claim for name, claim in found.items() if claim is not None}


class ServeSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of the server: how many may wait for each model, and for each API key that has none of its own, calls a
    second in the long run, at once, and that run at the same time.

    A model that generates makes `answers` at the same time in each process, and takes no more while those that run or
    wait may take as many as `tokens`, of prompts and answers together.

    Beyond `memory_mb` of models, those that were not asked for the longest rest until they are asked again. `alias`
    gives a model a further name. `tls`, `jwt` and `traces` are off unless they are there.
    """

    rate_per_s: Annotated[float, Meta(gt=0, le=1e9)] = 100.0
    burst: Annotated[int, Meta(ge=1)] = 200
    concurrent: Annotated[int, Meta(ge=1)] | None = None
    queue: Annotated[int, Meta(ge=1)] = 64
    answers: Annotated[int, Meta(ge=1, le=256)] = 4
    tokens: Annotated[int, Meta(ge=1)] = 32_768
    memory_mb: Annotated[int, Meta(ge=1)] | None = None
    alias: dict[str, str] = {}
    tls: TlsSettings | None = None
    jwt: JwtSettings | None = None
    traces: TracesSettings | None = None


class GenerateSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of models that generate: up to `rows` answers are made by one run, embedded and served, where that changes none
    of them. With 1 each answer is run by itself. So it is with `lookup`, and calls may ask for what stood before to be
    tried ahead, where that changes no answer."""

    rows: Annotated[int, Meta(ge=1, le=16)] = 4
    lookup: bool = False


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """sealpress.toml. Paths are relative to its folder, so that a box can be copied as a folder."""

    format: int
    box: Box
    trust: Trust
    journal: JournalSettings
    keys: KeySettings = KeySettings()
    witness: WitnessSettings | None = None
    timestamps: TimestampSettings | None = None
    policy: PolicySettings = PolicySettings()
    override: OverrideSettings = OverrideSettings()
    privacy: PrivacySettings = PrivacySettings()
    serve: ServeSettings = ServeSettings()
    compress: CompressSettings = CompressSettings()
    generate: GenerateSettings = GenerateSettings()
    grants: GrantSettings = GrantSettings()
    purposes: dict[str, Purpose]


def found_settings(given: str | os.PathLike[str] | None) -> Path:
    """The settings file: as given, else $SEALPRESS_SETTINGS, else ./sealpress.toml. Raises SettingsError."""
    path = Path(given or os.environ.get(VARIABLE) or NAME)
    if not path.is_file():
        raise SettingsError("settings_not_found", f"there are no settings at {path}")
    return path.resolve()


def read_settings(path: Path) -> Settings:
    """Raises SettingsError with the place that is wrong, KeyFault for a key that is none."""
    try:
        if path.stat().st_size > MAX_FILE:
            raise SettingsError("settings_malformed", f"{path} is larger than {MAX_FILE} bytes")
        tables = tomllib.loads(path.read_text("utf-8"))
        match tables:
            case {"journal": {"signer": _}}:
                made = "a box from before journals had a root; make a new one and keep this one for its records"
                raise SettingsError("settings_malformed", f"{path}: [journal] signer: this is {made}")
        settings = msgspec.convert(tables, Settings)
    except OSError as error:
        raise SettingsError("settings_not_found", f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise SettingsError("settings_malformed", f"{path}: {error}") from None
    if settings.format != 1:
        raise SettingsError("settings_malformed", f"{path}: format {settings.format}, this version reads format 1")
    witness = () if settings.witness is None else (settings.witness.key,)
    signers = (one.key for one in all_trusted(settings.trust.signers))
    for key in (*signers, settings.journal.root, *witness, *settings.override.approvers.values()):
        from_text(key)
    return settings


def trusting(text: str, signer: str | Trusted) -> str:
    """The text of the settings with one more trusted signer, and nothing else changed. A signer whose key is listed
    already takes the place of that line. Raises SettingsError."""
    key = signer if isinstance(signer, str) else signer.key
    entry = _entry(signer)
    listed = _signers(text)
    if _read(entry) in listed:
        return text
    if any(_key(one) == key for one in listed):
        return _relisted(text, key, entry, [_read(entry) if _key(one) == key else one for one in listed])
    head, bracket, tail = text.partition("signers = [")
    changed = f"{head}{bracket}\n    {entry},{tail}" if bracket else text
    return _as_expected(text, changed, [_read(entry), *listed], entry)


def distrusting(text: str, key: str) -> str:
    """The text of the settings without the line of this key, and nothing else changed. Raises SettingsError."""
    listed = _signers(text)
    return _relisted(text, key, "", [one for one in listed if _key(one) != key])


def _entry(signer: str | Trusted) -> str:
    """A signer as the settings list it: a key alone, or an inline table."""
    if isinstance(signer, str):
        return f'"{signer}"'
    said = {name: value for name, value in structs.asdict(signer).items() if value is not None}
    # JSON's strings and arrays of strings are TOML's, but for a character that JSON leaves as it is
    written = (
        f"{name} = {value if isinstance(value, date) else msgspec.json.encode(value).decode().replace(_DEL, _ESCAPED)}"
        for name, value in said.items()
    )
    return f"{{ {', '.join(written)} }}"


_DEL, _ESCAPED = "\x7f", "\\u007f"


def _read(entry: str) -> Any:
    return tomllib.loads(f"signer = {entry}")["signer"]


def _key(listed: Any) -> str:
    return str(listed["key"] if isinstance(listed, dict) else listed)


def _signers(text: str) -> list[Any]:
    return list(tomllib.loads(text)["trust"]["signers"])


def _relisted(text: str, key: str, entry: str, signers: list[Any]) -> str:
    """The text with another line in the place of that which names the key; without an entry, with none."""
    lines = text.splitlines(keepends=True)
    changed = "".join((f"    {entry},\n" if entry else "") if f'"{key}"' in line else line for line in lines)
    return _as_expected(text, changed, signers, entry or f"without {key}")


def _as_expected(text: str, changed: str, signers: list[Any], entry: str) -> str:
    """The changed text, where it says what it must and nothing else."""
    expected = {**tomllib.loads(text), "trust": {"signers": signers}}
    try:
        if tomllib.loads(changed) == expected:
            return changed
    except tomllib.TOMLDecodeError:
        pass
    raise SettingsError("settings_trust", f"the settings are laid out in a way of their own; the line is {entry},")
