"""A box: the settings, keys, policy and journal of one place where models run."""

from __future__ import annotations

import logging
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, structs

from compliance.crypto import Opener, Signer, fresh, sha256
from compliance.journal.genesis import identity
from compliance.journal.writer import Journal
from compliance.keys import from_text, secret
from compliance.state.consents import Consents
from compliance.state.declarations import Declarations
from compliance.state.grants.meter import Meter
from compliance.state.overrides import Overrides
from compliance.state.policies import archive
from compliance.state.pseudonyms import Pseudonyms
from compliance.trust import SCOPES, Scope
from policies.cedar import Engine
from policies.errors import Fault
from policies.facts import CATEGORY, Action, Call, Metered
from policies.payload import InputError
from policies.sanitising import Pseudonymise
from toolkit.box_keys import auditors, day_keys
from toolkit.new_box import private_settings
from toolkit.policy import Policy
from toolkit.proof import must_hold
from toolkit.settings import (
    VARIABLE,
    SettingsError,
    Trust,
    found_settings,
    read_settings,
)

if TYPE_CHECKING:
    from toolkit.detector import ModelDetector

__all__ = ["DAY", "Box", "Context"]

MAX_CONTEXT = 256
DAY = 86_400 * 10**9
MAX_CATEGORIES = 32
_NO_WORDS = {"data", "usage", "quota"}

_log = logging.getLogger("sealpress")


class Context(Struct, frozen=True, kw_only=True):
    """Under what a caller asks, and who: without an actor or a tenant it is the one of the settings. `data` are
    categories of personal data that the caller knows to be in the input, whether or not a scanner would find them;
    `override` names what two persons opened; `usage` counts the calls that the caller has made of a `quota`.

    Raises InputError for what is no text of at most 256 characters, and for a category that is no name.
    """

    actor: str | None = None
    tenant: str | None = None
    purpose: str | None = None
    basis: str | None = None
    consent: str | None = None
    subject: str | None = None
    region: str | None = None
    override: str | None = None
    data: frozenset[str] = frozenset()
    usage: int = 0
    quota: int | None = None

    def __post_init__(self) -> None:
        for name, value in self.said().items():
            if value is not None:
                _check_context(name, value)
        if len(self.data) > MAX_CATEGORIES or not all(
            isinstance(category, str) and CATEGORY.fullmatch(category) for category in self.data
        ):
            raise InputError("input_type", "data names categories, in lower case with underscores, such as health")

    def said(self) -> dict[str, Any]:
        """What is said in words: all but the categories and the counts."""
        return {name: value for name, value in structs.asdict(self).items() if name not in _NO_WORDS}


class Box:
    """Opened by `Box.open`. Holds what every call needs: the policy in force and the journal."""

    def __init__(self, settings_path: Path) -> None:
        self.path = settings_path
        self.folder = settings_path.parent
        self.settings = read_settings(settings_path)
        self._trusted: tuple[Trust, int, dict[Scope, frozenset[str]]] | None = None
        found = Policy.in_force(settings_path, self.settings)
        self.policy: Engine = found.engine()
        must_hold(found, self.policy, self.folder, self.settings)
        archive(self.policies_folder, self.policy.digest, self.policy.source)
        self.consents = Consents(self.folder / "state")
        journal = identity(self.journal_folder, from_text(self.settings.journal.root))
        self.declarations = Declarations(self.folder / "state", journal)
        self.overrides = Overrides(self.folder / "state" / "overrides", journal, self.settings.override.approvers)
        self.journal = Journal(
            self.journal_folder,
            day_keys(self.folder, self.settings),
            auditors(self.folder),
            self.salts_path,
            durable=self.settings.journal.durability == "durable",
        )
        self.meter = Meter(
            self.folder / "state",
            journal,
            self.settings.grants.models,
            self.journal.usage,
            lease_s=self.settings.grants.lease_s,
            durable=self.settings.journal.durability == "durable",
        )

    @classmethod
    def open(cls, settings: str | os.PathLike[str] | None = None) -> Box:
        """The box whose settings are given or found. Raises SettingsError, KeyFault, PolicyError, JournalError."""
        return cls(found_settings(settings))

    @classmethod
    def embedded(cls, settings: str | os.PathLike[str] | None) -> Box:
        """The same for a process that imports sealpress; without settings, the user's private box, made once."""
        try:
            return cls.open(settings)
        except SettingsError as error:
            if error.code != "settings_not_found" or settings is not None or VARIABLE in os.environ:
                raise
        return cls(private_settings())

    def reload(self) -> bool:
        """Put in force what the settings say by now of rules, purposes, trust and serving, as a whole; whether the
        policy is a new one. What a box is, its journal and its keys stay as they were when it was opened.

        Raises SettingsError, PolicyError: what fails its check or one of its cases is not taken, and the old policy
        stays. JournalError, where the change cannot be put on record.
        """
        tenant = self.settings.box.tenant
        try:
            settings = read_settings(self.path)
            found = Policy.in_force(self.path, settings)
            engine = found.engine()
            new = engine.digest != self.policy.digest
            if new:
                cases = must_hold(found, engine, self.folder, self.settings, prove=settings.policy.prove)
        except Fault as fault:
            self.journal.record("policy_refused", {"code": fault.code, "message": str(fault)}, tenant)
            raise
        if new:
            archive(self.policies_folder, engine.digest, engine.source)
            tried = {name: {"sha256": sha256(found.cases[name]).hex(), "passed": cases[name]} for name in cases}
            told = {"policy": engine.digest, "before": self.policy.digest, "cases": tried}
            self.journal.record("policy_changed", told, tenant)
        self.settings = structs.replace(
            self.settings,
            policy=settings.policy,
            purposes=settings.purposes,
            trust=settings.trust,
            serve=settings.serve,
            grants=settings.grants,
        )
        self.meter.models, self.meter.lease_s = settings.grants.models, settings.grants.lease_s
        if new:
            self.policy = engine
        return new

    @cached_property
    def detector(self) -> ModelDetector | None:
        """The model that looks at the input of every call, where the settings name one; read when it is first asked
        for. Raises BundleMissing, BundleError, ModelError, SettingsError, JournalError."""
        # most commands run no model, and need no runtime
        from toolkit.detector import ModelDetector

        return ModelDetector.of(self)

    @property
    def detectors(self) -> tuple[ModelDetector, ...]:
        """What the gate is given for every run of a model."""
        return () if self.detector is None else (self.detector,)

    @property
    def journal_folder(self) -> Path:
        return self.folder / "journal"

    @property
    def policies_folder(self) -> Path:
        return self.folder / "state" / "policies"

    @property
    def salts_path(self) -> Path:
        return self.folder / "state" / "salts.sqlite"

    def trusted(self, scope: Scope = "models") -> frozenset[str]:
        """The keys of those who are trusted with this now. Raises JournalError, KeyFault."""
        trust, day = self.settings.trust, self.journal.now() // DAY
        if self._trusted is None or self._trusted[0] is not trust or self._trusted[1] != day:
            self._trusted = trust, day, {one: trust.of(one, day * DAY) for one in SCOPES}
        return self._trusted[2][scope]

    def bundle_signer(self) -> Signer:
        """The key that signs bundles pressed here. Raises KeyFault."""
        return Signer(secret(self.settings.keys.bundle, "bundle-signing", self.folder))

    def sealing_key(self) -> Opener:
        """The key that opens what is sealed to this box. Raises KeyFault."""
        return Opener(secret(self.settings.keys.sealing, "sealing-private", self.folder))

    def call(
        self,
        action: Action,
        model: str,
        context: Context,
        signer: str | None = None,
        policy: Engine | None = None,
        metered: Metered | None = None,
        *,
        served: bool = False,
        noticed: bool = False,
    ) -> Call:
        """A call of this moment. `signer` is whose signature on the model was checked, `policy` by which it will be
        decided, if that was looked up before; `metered` what is held for it of a usage grant; `served`: others ask
        over a network; `noticed`: the NOTICE file of the model has what it must. Raises JournalError, StateError.

        Whether a consent stands is looked up now, so that one withdrawn a moment ago counts no more. A call to infer
        names the detector of the settings, and the gate lets none pass without it.
        """
        purpose = (policy or self.policy).purposes.get(context.purpose or "")
        tenant, at = context.tenant or self.settings.box.tenant, self.journal.now()
        consented = None
        if context.purpose is not None and (context.consent is not None or context.basis == "consent"):
            consented = self.consents.standing(
                self.journal.salts, tenant, context.purpose, context.subject, context.consent, at
            )
        said = context.said()
        override = None if context.override is None else self.overrides.standing(context.override, at)
        if override is not None:
            _log.warning(
                "a call runs under the override %s, opened by %s", override.id, ", ".join(sorted(override.approvers))
            )
        return Call(
            id=fresh(16).hex(),
            at=at,
            action=action,
            model=model,
            data=context.data if purpose is None else context.data | purpose.data,
            retain_days=0 if purpose is None else purpose.retain_days,
            consented=consented,
            host=self.settings.box.region,
            signer=signer,
            usage=context.usage,
            quota=context.quota,
            metered=metered,
            declared=self.declarations.standing(at, self.trusted("declarations")),
            served=served,
            noticed=noticed,
            detector=self.detector.digest if action == "infer" and self.detector is not None else None,
            **{**said, "actor": context.actor or self.settings.box.actor, "tenant": tenant, "override": override},
        )

    def pseudonymise(self, context: Context) -> Pseudonymise | None:
        """What makes the pseudonyms of a subject, where there is one; the gate uses it only if a rule asks for them."""
        if context.subject is None:
            return None
        tenant = context.tenant or self.settings.box.tenant
        return Pseudonyms(self.journal.salts, tenant, context.subject).pseudonymise


def _check_context(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise InputError("input_type", f"{name} is given as a string")
    if len(value) > MAX_CONTEXT:
        raise InputError("input_too_large", f"{name} has more than {MAX_CONTEXT} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError("input_unicode", f"{name} is not valid Unicode") from None
