"""A model, ready to be asked: every call goes through the gate, and there is no other way in."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import to_builtins
from numpy.typing import NDArray

from compliance.journal.receipts import Written
from policies.errors import Denied
from policies.gate import Grant, close
from policies.payload import Payload
from toolkit.box import Box, Context
from toolkit.bundle import Bundle, BundleManifest
from toolkit.calls import Answer, Asked, Calls
from toolkit.generating import Clock, Generated, Stream
from toolkit.plan import PLAIN, Plan, planned
from toolkit.runtime.entities import ENTITIES, Entity
from toolkit.runtime.generation import Chunk, Generator
from toolkit.runtime.lane import Lane
from toolkit.runtime.readers import Outputs, checked_texts
from toolkit.runtime.sampling import Sampling
from toolkit.runtime.session import ModelError
from toolkit.sealed import opened as bundle_at

__all__ = ["Answer", "Asked", "Model", "load"]


class Model:
    """A verified bundle in memory, under the policy and with the journal of a box."""

    def __init__(self, bundle: Bundle, box: Box, plan: Plan = PLAIN, *, served: bool = False) -> None:
        """`served`: others ask it over a network. Raises ModelError, JournalError, StateError."""
        self.manifest: BundleManifest = bundle.manifest
        self.plan = plan
        self._box = box
        self._calls = Calls(bundle, box, threads=plan.threads, served=served)
        began = time.perf_counter()
        self._lane = Lane(bundle.model, bundle.manifest.digest, bundle.reader(), threads=plan.threads, batch=plan.batch)
        self._generator = None
        if bundle.manifest.generation and bundle.tokenizer is not None:
            if plan.rows > 1:
                self._lane.session.together(plan.rows, plan.least)
            self._generator = Generator(
                self._lane.session, bundle.tokenizer, bundle.manifest.generation, lookup=plan.lookup
            )
        # how long it took to read the bundle and to make it ready, and what of that was unsealing
        self.seconds = bundle.seconds + time.perf_counter() - began
        self.unsealed = bundle.unsealed
        self.under = bundle.under
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
        """Embeddings of the texts, (n, hidden), or logits (n, classes) where the model has classes. `data` names
        categories of personal data that are known to be in them.

        Raises Denied with the findings when the policy refuses (the refusal is on record), InputError for texts that
        cannot be taken, JournalError when the call cannot be recorded; then the model does not run.
        """
        self._must_be_for(entities=False)
        context = _context(purpose, basis, consent, subject, region, override, data)
        (answered,) = self.ask({"texts": checked_texts(texts)}, context).outputs.values()
        return answered

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
        return list(self.ask({"texts": checked_texts(texts)}, context).outputs["entities"])

    def generate(
        self,
        prompt: str | Sequence[Mapping[str, str]],
        *,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        logprobs: int | None = None,
        schema: Mapping[str, Any] | None = None,
        regex: str | None = None,
        choice: Sequence[str] = (),
        lookup: bool = False,
        purpose: str | None = None,
        basis: str | None = None,
        consent: str | None = None,
        subject: str | None = None,
        region: str | None = None,
        override: str | None = None,
        data: str | Collection[str] = (),
    ) -> Generated:
        """The answer to a text, or to the turns of a chat, each {"role": "system", "user" or "assistant", "content":
        text}. See toolkit.runtime.sampling.Sampling for how it is chosen.

        Raises what `stream` and its chunks raise.
        """
        context = _context(purpose, basis, consent, subject, region, override, data)
        sampling = Sampling.checked(
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
            stop=stop,
            logprobs=logprobs,
            schema=schema,
            regex=regex,
            choice=choice,
            lookup=lookup,
        )
        with self.stream(prompt, sampling, context) as stream:
            logs = [one for chunk in stream for one in chunk.logprobs]
        assert stream.finish is not None  # noqa: S101 - it was read to its end, or raised
        return Generated(
            text=stream.text,
            finish=stream.finish,
            seed=stream.seed,
            logprobs=tuple(logs),
            usage=stream.usage,
            call=stream.call,
            written=stream.written,
            detected=stream.detected,
            obligations=stream.obligations,
            found=stream.found,
            mark=stream.mark,
        )

    def stream(
        self,
        prompt: str | Sequence[Mapping[str, str]],
        sampling: Sampling,
        context: Context,
    ) -> Stream:
        """The same piece by piece: an iterator of chunks, and a context that records a stream that was left early.

        What is not allowed, or cannot be recorded, raises here; what goes wrong with the run raises from the iterator.
        Raises Denied with the findings (the refusal is on record), InputError, JournalError, ModelError "model_task",
        GenerationError "generation_lookup".
        """
        generator, payload = self._generating, _asking(prompt, sampling.constraint)
        generator.takes(sampling)
        in_force = self._box.policy
        opened = self._calls.opened(Asked(payload, context), in_force, metering=self._calls.metering)
        if not isinstance(opened, Grant):
            raise opened
        clock = Clock()

        def run(go_on: Callable[[], None]) -> Iterator[Chunk]:
            return clock.timed(generator.run(opened, in_force.digest, sampling, go_on, clock.spent))

        def ended(grant: Grant, error: BaseException | None) -> tuple[Written, ...]:
            metered = grant.call.metered
            if metered is not None:
                counted = self._calls.settled(grant, metered, {}, 1e6 * clock.seconds * self.plan.threads)
                if error is None and isinstance(counted, Exception):
                    close(grant, counted)
                    raise counted
            written: tuple[Written, ...] = close(grant, error)
            return written

        journal = self._box.journal

        def mark(text: str) -> str:
            return journal.mark(opened.call.id, opened.call.model, text)

        return Stream(opened, sampling.seed, run, ended, mark=mark, durable=journal.durable)

    def ask(self, value: object, context: Context, blobs: Mapping[str, bytes] | None = None) -> Answer:
        """The same for any model, with the payload that its reader takes, such as {"texts": [...]}. Safe for threads.

        Raises Denied, InputError, JournalError, and what the runtime raises.
        """
        (answer,) = self.answers([Asked(Payload.checked(value, blobs), context)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def prompt_tokens(self, prompt: str | Sequence[Mapping[str, str]]) -> int:
        """How many tokens a text or the turns of a chat have, before anything is asked.

        Raises InputError for what cannot be taken, ModelError "model_task".
        """
        return len(self._generating.prompter.ids(_asking(prompt)))

    def size(self, payload: Payload) -> int:
        """What a call with this payload costs beside others, in the units of the plan's `pace`.

        Raises InputError for one that this model does not take, as far as that is seen without much work.
        """
        return self._lane.reader.cost(payload)

    def answers(
        self, asked: Sequence[Asked], go_on: Callable[[int], None] = lambda _: None
    ) -> list[Answer | Exception]:
        """Each call through the gate for itself, then those that are allowed in one go: what each gave, or why not.

        Where the plan has batches, callers see to it that all are of one tenant. `go_on` is called with the place of a
        call before each of its runs, and raises a Fault for one that nobody waits for any more.
        """
        in_force = self._box.policy
        # where no model needs a grant, a call costs nothing more
        metering = self._calls.metering
        opened = [self._calls.opened(one, in_force, metering=metering) for one in asked]
        places = [place for place, one in enumerate(opened) if isinstance(one, Grant)]
        grants = [one for one in opened if isinstance(one, Grant)]
        ran: Sequence[Outputs | Exception] = ()
        began = time.thread_time() if metering else 0.0
        try:
            ran = self._lane.run(grants, in_force.digest, lambda owner: go_on(places[owner])) if grants else ()
        except Exception as error:  # noqa: BLE001 - whatever it is, these calls ended with it
            ran = [error] * len(grants)
        except BaseException as error:
            for grant in grants:
                close(grant, error)
            raise
        if metering:
            ran = self._calls.counted(grants, ran, 1e6 * (time.thread_time() - began))
        outputs = iter(ran)
        return [self._calls.closed(one, next(outputs)) if isinstance(one, Grant) else one for one in opened]

    def _must_be_for(self, *, entities: bool) -> None:
        if (self.manifest.task == ENTITIES) is not entities or self._generator is not None:
            raise ModelError("model_task", f"{self.manifest.name} is for {self.manifest.task}")

    @property
    def _generating(self) -> Generator:
        if self._generator is None:
            raise ModelError("model_task", f"{self.manifest.name} is for {self.manifest.task}")
        return self._generator

    def receipt(self, of: Answer | Stream | Denied) -> bytes:
        """What shows that the call is on record, as JSON (docs/formats.md): `sealpress receipt verify` checks it.

        A promise at first, which `sealpress receipt redeem` turns into a proof once the records are under a head.
        """
        written = (of.entry.written,) if isinstance(of, Denied) else of.written
        return self._box.journal.receipt(written)


def _asking(prompt: str | Sequence[Mapping[str, str]], constraint: Mapping[str, Any] | None = None) -> Payload:
    """What an answer has to hold may be personal as the prompt may, so that it is looked at with it."""
    asked: dict[str, object] = {"prompt": prompt} if isinstance(prompt, str) else {"messages": prompt}
    return Payload.checked({**asked, "constraint": constraint} if constraint else asked)


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


def load(
    path: str | os.PathLike[str], settings: str | os.PathLike[str] | None = None, *, lookup: bool | None = None
) -> Model:
    """Read a bundle, check that a trusted signer signed it and that every byte holds, and make it ready. A sealed one
    is opened in memory.

    `settings` is the path of a sealpress.toml; without it $SEALPRESS_SETTINGS and ./sealpress.toml are looked for.
    `lookup` is whether answers of a model that generates may try what stood before, without it as the settings say.
    Raises BundleMissing, BundleError, SealedError, ModelError, SettingsError, KeyFault, PolicyError, JournalError;
    Denied when the policy forbids to measure how a model that generates runs here.
    """
    box = Box.embedded(settings)
    bundle = bundle_at(Path(path), box)
    # an answer is the same embedded and served: both make it as it was planned for this host
    cores = os.cpu_count() or 1
    return Model(bundle, box, planned(bundle, box, cores, lookup=lookup) if bundle.manifest.generation else PLAIN)
