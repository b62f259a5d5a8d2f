"""The loop of a model that generates: prompt, then token after token, each piece of text as soon as it is sure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from tokenizers.decoders import DecodeStream

from policies.errors import Fault
from policies.gate import Grant, charge
from policies.payload import Payload
from toolkit.runtime.constraint import Constraint, Parser
from toolkit.runtime.decoding import Prompter
from toolkit.runtime.inputs import Generation
from toolkit.runtime.lookup import RUN, Ahead, paired
from toolkit.runtime.prefixes import Prefixes
from toolkit.runtime.sampling import Chosen, GenerationError, Sampler, Sampling
from toolkit.runtime.session import ModelError, Session
from toolkit.runtime.slots import Slots

__all__ = ["Chunk", "Finish", "Generator", "Logprob"]

# tokens of a prompt that are run at a time, between which a stop is heard, and others are given their tokens; of how
# prompts begin, such parts are kept
PREFILL = 128
KEPT = 1 << 28  # bytes of what is kept of prompts at most

# stop: the model ended, or a stop string came; length: as many tokens as were asked for
Finish = Literal["stop", "length"]


class Logprob(Struct, frozen=True):
    """A token as text, its logarithm of probability, and the most probable ones."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...]


class Chunk(Struct, frozen=True, kw_only=True):
    """A piece of an answer. `finish` stands in the last one alone. The texts of all chunks make the answer; one may be
    empty, where a character or a stop string is not whole yet."""

    text: str
    logprobs: tuple[Logprob, ...] = ()
    finish: Finish | None = None


class Generator:
    """Safe for threads: they share the session, and each answer has a cache of its own."""

    def __init__(
        self, session: Session, tokenizer: bytes, generation: Generation, *, lookup: bool | None = None
    ) -> None:
        """With `lookup` no run has one token alone, so that answers may try what stood before; False: that was asked
        for, and found to change answers of this model on this host. Raises ModelError."""
        self.prompter = Prompter(tokenizer, generation)
        self._session = session
        a_token = Slots.size(session.inputs, rows=1, room=0)
        self._prefixes = Prefixes(PREFILL, KEPT // (PREFILL * max(1, a_token)))
        vocabulary = next((tensor.shape[-1] for tensor in session.outputs if tensor.name == "logits"), 0)
        self._parser = Parser(self.prompter.tokenizer.to_str(), int(vocabulary), generation.ends)
        self._lookup = lookup

    def takes(self, sampling: Sampling) -> None:
        """Raises GenerationError "generation_lookup" where an answer may try nothing ahead, and should."""
        if sampling.lookup and not self._lookup:
            why = "the model was opened without" if self._lookup is None else "it would change answers on this host"
            raise GenerationError("generation_lookup", f"nothing is tried ahead: {why}")

    def run(
        self,
        grant: Grant,
        in_force: str,
        sampling: Sampling,
        go_on: Callable[[], None] = lambda: None,
        spent: Callable[[float], None] = lambda _: None,
    ) -> Iterator[Chunk]:
        """The answer to the prompt of a grant, piece by piece; each token is charged to the grant as it is made.

        `go_on` is called before each token and raises a Fault where nobody waits for it any more; `spent` is told of
        the processor's time that other threads took for it, in seconds. Raises Ungated, InputError, MissingExtra,
        GenerationError as `takes` does, "generation_context", "generation_constraint" and "generation_memory" before
        anything is run, "generation_constraint" also where it takes too much later on; ModelError.
        """
        self.takes(sampling)
        payload, cache_of = self._session.generating(grant, in_force, spent)
        ids = self.prompter.ids(payload)
        context = self.prompter.generation.context
        if len(ids) + sampling.max_tokens > context:
            raise GenerationError(
                "generation_context", f"{len(ids)} tokens and {sampling.max_tokens} more, the context has {context}"
            )
        sampler, text = Sampler(sampling, ids), _Text(self.prompter, sampling.stop)
        constraint = self._constraint(payload, sampling)
        room = len(ids) + sampling.max_tokens
        shelf, cache = self._prefixes.of(grant.call), cache_of(room)
        try:
            waiting = ids
            if found := shelf.begin(cache, ids):
                # they are paid for as if they had been run: what others asked before is no matter of the price
                charge(grant, tokens=found, prompt_tokens=found, cached_tokens=found)
                waiting = ids[found:]
            while waiting:
                go_on()
                part, waiting = waiting[:PREFILL], waiting[PREFILL:]
                logits = paired(cache, part) if self._lookup else cache.step(part)[0]
                charge(grant, tokens=len(part), prompt_tokens=len(part))
            shelf.keep(cache)
            step: Callable[[Sequence[int]], NDArray[np.float32]] = cache.step
            if self._lookup:
                tries, forced = RUN - 1 if sampling.lookup else 0, constraint.forced if constraint else tuple
                step = Ahead(cache, ids, room, tries, forced).step
            said = ""
            for number in range(sampling.max_tokens):
                chosen = sampler.choose(logits, constraint.allowed() if constraint else None)
                charge(grant, tokens=1, answer_tokens=1)
                if chosen.id in self.prompter.generation.ends:
                    if constraint:
                        constraint.holds(said)
                    yield Chunk(text=text.rest(), finish="stop")
                    return
                piece, stopped = text.added(chosen.id)
                said += piece
                if constraint and constraint.take(chosen.id):
                    constraint.holds(said)
                    stopped = True
                logprobs = self._logprobs(chosen)
                if stopped:
                    yield Chunk(text=piece, logprobs=logprobs, finish="stop")
                    return
                if number == sampling.max_tokens - 1:
                    yield Chunk(text=piece + text.rest(), logprobs=logprobs, finish="length")
                    return
                yield Chunk(text=piece, logprobs=logprobs)
                go_on()
                logits = step([chosen.id])[0]
        except Fault:
            raise
        except Exception as error:  # noqa: BLE001 - the runtime raises a family of its own without a common root
            raise ModelError("model_inputs", f"it does not run on what it is given: {str(error)[:300]!r}") from None
        finally:
            cache.close()

    def _constraint(self, payload: Payload, sampling: Sampling) -> Constraint | None:
        asked = payload.value.get("constraint") if isinstance(payload.value, dict) else None
        if asked != sampling.constraint:
            raise GenerationError("generation_constraint", "it holds what is masked before the model may see it")
        return None if asked is None else self._parser.of(asked)

    def _logprobs(self, chosen: Chosen) -> tuple[Logprob, ...]:
        if chosen.logprob is None:
            return ()
        top = tuple((self._named(number), value) for number, value in chosen.top)
        return (Logprob(self._named(chosen.id), chosen.logprob, top),)

    def _named(self, number: int) -> str:
        return self.prompter.tokenizer.decode([number], skip_special_tokens=False)


class _Text:
    """Tokens to text, of which nothing is handed out that a further token could change or a stop string take back."""

    def __init__(self, prompter: Prompter, stops: Sequence[str]) -> None:
        self._tokenizer = prompter.tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._stops = stops
        self._held = ""

    def added(self, token: int) -> tuple[str, bool]:
        """What is sure now, and whether a stop string ended the answer."""
        self._held += self._stream.step(self._tokenizer, token) or ""
        first = min((at for stop in self._stops if (at := self._held.find(stop)) >= 0), default=-1)
        if first >= 0:
            return self._held[:first], True
        kept = max((_begun(self._held, stop) for stop in self._stops), default=0)
        sure, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
        return sure, False

    def rest(self) -> str:
        """What was held back for a stop string that did not come."""
        return self._held


def _begun(text: str, stop: str) -> int:
    """With how many characters of a stop string a text ends."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
