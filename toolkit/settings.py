"""Read sealpress.toml, and hand it on as values."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta, Struct

from compliance.keys import from_text
from policies.cedar.packs import Parameter
from policies.errors import Unusable
from policies.facts import Purpose

__all__ = [
    "Settings",
    "SettingsError",
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
        "settings_trust": "Add the line yourself, between the brackets of `signers` under [trust].",
    }


class Box(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who runs here. `tenant` and `actor` stand in every record of a call that brings none of its own; `region` is
    where the machine stands, as a country code."""

    name: str
    region: str | None = None
    tenant: str = "local"
    actor: str = "local"


class Trust(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The public keys whose bundles are accepted, as ed25519:..."""

    signers: tuple[str, ...]


class JournalSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The public key of the journal's root, as ed25519:..., and how its records are kept.

    A `durable` record is on the disk before the model runs; a power cut can lose one that is only `buffered`.
    `retain_days` is for records of no declared purpose, which are kept without it.
    """

    root: str
    durability: Literal["buffered", "durable"] = "buffered"
    retain_days: Annotated[int, Meta(ge=1)] | None = None


class KeySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the key that signs bundles comes from: `file:PATH`, `env:NAME` or `command:PROGRAM ARGUMENT ...`."""

    bundle: str = "file:keys/bundle.key"


class WitnessSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who co-signs this box's heads: the public key, as ed25519:..., and the address, none when heads go by hand."""

    key: str
    url: str | None = None


class PolicySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Packs by name, what fills their parameters, and the user's own files of rules, cases and claims, relative to the
    settings. With `prove`, nothing is put in force whose claims are not proved."""

    packs: tuple[str, ...] = ("base", "gdpr", "licence")
    rules: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    prove: bool = False
    parameters: dict[str, dict[str, Parameter]] = {}


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

    Beyond `memory_mb` of models, those that were not asked for the longest rest until they are asked again. `alias`
    gives a model a further name. `tls`, `jwt` and `traces` are off unless they are there.
    """

    rate_per_s: Annotated[float, Meta(gt=0, le=1e9)] = 100.0
    burst: Annotated[int, Meta(ge=1)] = 200
    concurrent: Annotated[int, Meta(ge=1)] | None = None
    queue: Annotated[int, Meta(ge=1)] = 64
    memory_mb: Annotated[int, Meta(ge=1)] | None = None
    alias: dict[str, str] = {}
    tls: TlsSettings | None = None
    jwt: JwtSettings | None = None
    traces: TracesSettings | None = None


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """sealpress.toml. Paths are relative to its folder, so that a box can be copied as a folder."""

    format: int
    box: Box
    trust: Trust
    journal: JournalSettings
    keys: KeySettings = KeySettings()
    witness: WitnessSettings | None = None
    policy: PolicySettings = PolicySettings()
    override: OverrideSettings = OverrideSettings()
    privacy: PrivacySettings = PrivacySettings()
    serve: ServeSettings = ServeSettings()
    compress: CompressSettings = CompressSettings()
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
    for key in (*settings.trust.signers, settings.journal.root, *witness, *settings.override.approvers.values()):
        from_text(key)
    return settings


def trusting(text: str, key: str) -> str:
    """The text of the settings with one more trusted signer, and nothing else changed. Raises SettingsError."""
    before = tomllib.loads(text)
    signers = before["trust"]["signers"]
    if key in signers:
        return text
    head, bracket, tail = text.partition("signers = [")
    changed = f'{head}{bracket}\n    "{key}",{tail}' if bracket else text
    expected = {**before, "trust": {"signers": [key, *signers]}}
    try:
        if tomllib.loads(changed) == expected:
            return changed
    except tomllib.TOMLDecodeError:
        pass
    raise SettingsError("settings_trust", f'the settings are laid out in a way of their own; the line is "{key}",')
