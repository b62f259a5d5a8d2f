"""A model, ready to be asked: every call goes through the gate, and there is no other way in."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct, to_builtins
from numpy.typing import NDArray

from compliance.journal.receipts import Written
from policies.errors import Denied
from policies.gate import close, decide_and_open
from policies.payload import Payload
from toolkit.box import Box, Context
from toolkit.bundle import Bundle, BundleManifest
from toolkit.runtime.entities import ENTITIES, Entity
from toolkit.runtime.lane import Lane
from toolkit.runtime.readers import checked_texts
from toolkit.runtime.session import ModelError

__all__ = ["Answer", "Model", "load"]


class Answer(Struct, frozen=True):
    """What a call gave: embeddings (n, hidden), or of a model that labels tokens (n,) lists of Entity, one for each
    text; the tokens it took; the categories of personal data that the detector of the settings found in the input; and
    how it is on record: its id and its records."""

    embeddings: NDArray[Any]
    tokens: int
    detected: frozenset[str]
    call: str
    written: tuple[Written, ...]


class Model:
    """A verified bundle in memory, under the policy and with the journal of a box."""

    def __init__(self, bundle: Bundle, box: Box) -> None:
        self.manifest: BundleManifest = bundle.manifest
        self._box = box
        # whatever is wrong with a detector shows now, and not at the first call
        self._detectors = box.detectors
        self._lane = Lane(bundle.model, bundle.manifest.digest, bundle.reader())
        self._signer = bundle.signer
        self._about = {"manifest": to_builtins(bundle.manifest), "measurements": to_builtins(bundle.measurements)}
        self.record_loaded()

    def record_loaded(self) -> None:
        """Put on record that the model is ready. Raises JournalError, StateError."""
        self._box.journal.record("loaded", self._about, self._box.settings.box.tenant)

    def embed(
        self,
        texts: str | Sequence[str],
        *,
        purpose: str | None = None,
        basis: str | None = None,
        consent: str | None = None,
        subject: str | None = None,
        region: str | None = None,
        override: str | None = None,
        data: str | Collection[str] = (),
    ) -> NDArray[np.float32]:
        """Embeddings of the texts, (n, hidden). `data` names categories of personal data that are known to be in them.

        Raises Denied with the findings when the policy refuses (the refusal is on record), InputError for texts that
        cannot be taken, JournalError when the call cannot be recorded; then the model does not run.
        """
        self._must_be_for(entities=False)
        context = _context(purpose, basis, consent, subject, region, override, data)
        return self.ask(texts, context).embeddings

    def entities(
        self,
        texts: str | Sequence[str],
        *,
        purpose: str | None = None,
        basis: str | None = None,
        consent: str | None = None,
        subject: str | None = None,
        region: str | None = None,
        override: str | None = None,
        data: str | Collection[str] = (),
    ) -> list[list[Entity]]:
        """What a model that labels tokens finds in each text, in order, without overlap, and however long a text is.

        Raises what `embed` raises; ModelError for a model that labels no tokens.
        """
        self._must_be_for(entities=True)
        context = _context(purpose, basis, consent, subject, region, override, data)
        return list(self.ask(texts, context).embeddings)

    def ask(self, texts: str | Sequence[str], context: Context) -> Answer:
        """The same for a caller with a context of its own, such as a server. Safe for threads."""
        payload = Payload.checked({"texts": checked_texts(texts)})
        in_force = self._box.policy
        call = self._box.call("infer", self.manifest.digest, context, self._signer, in_force)
        grant = decide_and_open(in_force, self.manifest, call, payload, self._box.journal, self._detectors)
        try:
            embeddings = self._lane.answers(grant, in_force.digest)
            tokens, detected = grant.usage["tokens"], grant.call.detected
        except BaseException as error:
            close(grant, error)
            raise
        written = close(grant)
        return Answer(embeddings=embeddings, tokens=tokens, detected=detected, call=call.id, written=written)

    def _must_be_for(self, *, entities: bool) -> None:
        if (self.manifest.task == ENTITIES) is not entities:
            raise ModelError("model_task", f"{self.manifest.name} is for {self.manifest.task}")

    def receipt(self, of: Answer | Denied) -> bytes:
        """What shows that the call is on record, as JSON (docs/formats.md): `sealpress receipt verify` checks it.

        A promise at first, which `sealpress receipt redeem` turns into a proof once the records are under a head.
        """
        written = of.written if isinstance(of, Answer) else (of.entry.written,)
        return self._box.journal.receipt(written)


def _context(
    purpose: str | None,
    basis: str | None,
    consent: str | None,
    subject: str | None,
    region: str | None,
    override: str | None,
    data: str | Collection[str],
) -> Context:
    return Context(
        purpose=purpose,
        basis=basis,
        consent=consent,
        subject=subject,
        region=region,
        override=override,
        # one name is no set of letters
        data=frozenset((data,) if isinstance(data, str) else data),
    )


def load(path: str | os.PathLike[str], settings: str | os.PathLike[str] | None = None) -> Model:
    """Read a bundle, check that a trusted signer signed it and that every byte holds, and make it ready.

    `settings` is the path of a sealpress.toml; without it $SEALPRESS_SETTINGS and ./sealpress.toml are looked for.
    Raises BundleMissing, BundleError, ModelError, SettingsError, KeyFault, PolicyError, JournalError.
    """
    box = Box.embedded(settings)
    return Model(Bundle.read(Path(path), box.settings.trust.signers), box)
