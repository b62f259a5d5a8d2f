"""The second tier of privacy: a bundle that labels tokens looks at the input of every call before it is decided.

Each look is a call of its own, with the action "scan": the policy decides on it, and it is on record with its outcome,
without the texts. They stand with the call that it looks for, if that one is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import UNSET, structs, to_builtins

from compliance.crypto import fresh
from policies.errors import Fault
from policies.facts import CATEGORY, Call
from policies.gate import Grant, gate
from policies.payload import Payload
from policies.privacy import Detected
from toolkit.bundle import Bundle
from toolkit.runtime.entities import ENTITIES, tags
from toolkit.runtime.lane import Lane
from toolkit.runtime.readers import Outputs
from toolkit.sealed import opened
from toolkit.settings import PrivacySettings, SettingsError

if TYPE_CHECKING:
    from toolkit.box import Box

__all__ = ["LABELS", "ModelDetector"]

# the keys of our own payloads, which name nobody
_KEYS = frozenset({"texts", "images", "tensors", "dtype", "shape", "blob"})

# what models call the kinds of what they find, in capitals, by category
_KINDS = {
    "person_name": "PER PERSON NAME GIVEN_NAME GIVENNAME FIRST_NAME FIRSTNAME MIDDLE_NAME LAST_NAME LASTNAME SURNAME "
    "PATIENT DOCTOR STAFF HCW",
    "address": "LOC LOCATION GPE ADDRESS STREET STREET_NAME STREET_ADDRESS BUILDING_NUMBER SECONDARY_ADDRESS CITY "
    "STATE ZIP ZIPCODE ZIP_CODE POSTCODE",
    "organisation": "ORG ORGANIZATION ORGANISATION COMPANY HOSPITAL",
    "email": "EMAIL",
    "phone": "PHONE PHONE_NUMBER TELEPHONE",
    "birth_date": "DATE_OF_BIRTH DOB BIRTH_DATE",
    "bank_account": "BANK_ACCOUNT IBAN",
    "card": "CREDIT_CARD CREDIT_CARD_NUMBER",
    "national_id": "GOVERNMENT_ID NATIONAL_ID",
    "passport": "PASSPORT",
    "driving_licence": "DRIVERS_LICENSE DRIVER_LICENSE DRIVING_LICENCE",
    "ssn": "SSN",
    "tax_id": "TAX_ID",
    "ip_address": "IP_ADDRESS",
}
LABELS: Mapping[str, str] = {kind: category for category, kinds in _KINDS.items() for kind in kinds.split()}


class ModelDetector:
    """A Detector (policies.privacy). Safe for threads."""

    def __init__(self, bundle: Bundle, settings: PrivacySettings, box: Box) -> None:
        """`bundle` was read, and a trusted signer signed it. Raises ModelError; SettingsError "settings_detector" for
        a bundle that labels no tokens, and for labels that it does not have or that are mapped to no category."""
        manifest = bundle.manifest
        if manifest.task != ENTITIES or manifest.labels is UNSET:
            raise SettingsError("settings_detector", f"{manifest.name} is for {manifest.task}, not for {ENTITIES}")
        self.manifest = manifest
        self._signer = bundle.signer
        self._noticed = bundle.noticed
        self._box = box
        self._lane = Lane(bundle.model, manifest.digest, bundle.reader())
        self._least = settings.score
        self._categories = _categories(settings.labels, {tag.kind for tag in tags(manifest.labels)} - {""})
        about = {"manifest": to_builtins(manifest), "measurements": to_builtins(bundle.measurements)}
        box.journal.record("loaded", about, box.settings.box.tenant)

    @classmethod
    def of(cls, box: Box) -> ModelDetector | None:
        """The one that the settings of a box name. Raises BundleMissing, BundleError, SealedError, ModelError,
        SettingsError."""
        settings = box.settings.privacy
        if settings.detector is None:
            return None
        bundle = opened(Path(box.folder, settings.detector), box)
        if bundle.under is not None:
            # a look is not metered, so that nothing would tell that the grant is over
            raise SettingsError("settings_detector", f"{settings.detector} is sealed to a grant, not to this box")
        return cls(bundle, settings, box)

    @property
    def digest(self) -> str:
        return self.manifest.digest

    def scan(self, texts: Sequence[str], call: Call) -> list[list[Detected]]:
        """See Detector. Raises Denied, InputError, ModelError, JournalError."""
        due = [text for text in texts if text not in _KEYS]
        if not due:
            return [[] for _ in texts]
        in_force = self._box.policy
        own = structs.replace(
            call,
            id=fresh(16).hex(),
            action="scan",
            model=self.digest,
            signer=self._signer,
            detector=None,
            detected=frozenset(),
            unseen=False,
            noticed=self._noticed,
            scan_of=call.id,
        )

        def work(grant: Grant) -> Outputs:
            (outputs,) = self._lane.run([grant], in_force.digest)
            if isinstance(outputs, Fault):
                raise outputs
            return outputs

        payload = Payload.checked({"texts": due})
        answers = gate(in_force, self.manifest, own, payload, self._box.journal, work)
        found = dict(zip(due, answers["entities"], strict=True))
        return [
            [
                Detected(start=one.start, end=one.end, category=self._categories[one.label], confidence=one.score)
                for one in found.get(text, ())
                if one.label in self._categories and one.score >= self._least
            ]
            for text in texts
        ]


def _categories(given: Mapping[str, str] | None, kinds: set[str]) -> dict[str, str]:
    """The category of each kind that counts: as the settings say, else as the names of kinds are known."""
    if given is None:
        known = {kind: LABELS[kind.upper()] for kind in kinds if kind.upper() in LABELS}
        if not known:
            told = ", ".join(sorted(kinds))[:300]
            raise SettingsError("settings_detector", f"[privacy.labels] maps none of the labels: {told}")
        return known
    for kind, category in given.items():
        if kind not in kinds:
            raise SettingsError("settings_detector", f"[privacy.labels] {kind[:80]!r}: the model has no such label")
        if not CATEGORY.fullmatch(category):
            raise SettingsError(
                "settings_detector", f"[privacy.labels] {kind[:80]!r}: {category[:80]!r} is no category"
            )
    return dict(given)
