"""Which token comes next: from logits, by rules that the caller sets, and the same for the same seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from secrets import randbits
from typing import Annotated, Any, ClassVar, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from policies.errors import Unusable
from toolkit.runtime.schema import check_regex, checked_schema

__all__ = ["Chosen", "GenerationError", "Sampler", "Sampling"]

MAX_STOPS = 16
LARGEST = 256  # as many weights are sorted at first

Numbers = NDArray[np.float32]
Regex = Annotated[str, Meta(min_length=1, max_length=4096)]
Choices = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=1000)], ...], Meta(max_length=256)]


class GenerationError(Unusable):
    """An answer that cannot be generated as it was asked for."""

    hints: ClassVar[Mapping[str, str]] = {
        "generation_sampling": "Give what the message names within its bounds: docs/generation.md lists them.",
        "generation_constraint": "Give one schema, expression or list of choices as docs/generation.md has them.",
        "generation_context": "Shorten the prompt, or ask for fewer tokens: both have to fit into the context.",
        "generation_lookup": "Ask without `lookup`, or set it in [generate] of the settings, if the model takes it.",
        "generation_memory": "Ask for fewer tokens, or again when other answers have ended.",
    }


class Sampling(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an answer is chosen. Make one with `checked`.

    `max_tokens` bounds the answer. A `temperature` of 0 takes the most probable token each time. Of the others, in this
    order: the `top_k` most probable (0: all); the fewest that have `top_p` of the probability together (Holtzman et
    al., "The Curious Case of Neural Text Degeneration", 2020); those with at least `min_p` times the probability of
    the first (Nguyen et al., "Turning Up the Heat", 2024). `repetition_penalty` divides the logits of tokens that were
    there before (Keskar et al., "CTRL", 2019). The same `seed` gives the same text; without one, one is drawn. The
    answer ends before the first of `stop`. `logprobs`: with each token its logarithm of probability under the model
    itself, whatever else is set, and those of so many most probable ones.

    The answer keeps to a JSON `schema`, or all of it to a `regex`, or it is one of the texts of `choice`; one of the
    three, without `stop`, which would cut it short. It does where it ends by itself: what has as many tokens as were
    asked for may not be whole. `lookup` runs what stood in the prompt before ahead of its being chosen (lookup.py):
    the text is the same; it needs a model that was opened for it.
    """

    max_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] = 256
    temperature: Annotated[float, Meta(ge=0, le=100)] = 0.0
    top_p: Annotated[float, Meta(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    min_p: Annotated[float, Meta(ge=0, le=1)] = 0.0
    repetition_penalty: Annotated[float, Meta(gt=0, le=100)] = 1.0
    seed: Annotated[int, Meta(ge=0, lt=2**53)]
    stop: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=1000)], ...], Meta(max_length=MAX_STOPS)] = ()
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    schema: dict[str, Any] | None = None
    regex: Regex | None = None
    choice: Choices = ()
    lookup: bool = False

    @classmethod
    def checked(cls, **given: Any) -> Sampling:
        """Raises GenerationError "generation_sampling" for what is out of bounds, "generation_constraint" for a
        constraint that is seen to be none."""
        stop = given.get("stop")
        if isinstance(stop, str):
            given["stop"] = (stop,)
        if given.get("seed") is None:
            given["seed"] = randbits(53)
        try:
            made = msgspec.convert(given, cls)
        except msgspec.ValidationError as error:
            raise GenerationError("generation_sampling", str(error)) from None
        try:
            if made.schema is not None:
                made = msgspec.structs.replace(made, schema=checked_schema(made.schema))
            if made.regex is not None:
                check_regex(made.regex)
        except ValueError as error:
            raise GenerationError("generation_constraint", str(error)) from None
        constraints = (made.schema is not None) + (made.regex is not None) + bool(made.choice)
        if constraints > 1 or (constraints and made.stop):
            raise GenerationError("generation_constraint", "schema, regex, choice and stop exclude each other")
        return made

    @property
    def constraint(self) -> dict[str, Any] | None:
        """What the answer has to keep to, as it stands in the payload of the call, None where nothing does."""
        if self.schema is not None:
            return {"schema": self.schema}
        if self.regex is not None:
            return {"regex": self.regex}
        return {"choice": list(self.choice)} if self.choice else None


class Chosen(NamedTuple):
    """A token, with what `Sampling.logprobs` asks for."""

    id: int
    logprob: float | None
    top: tuple[tuple[int, float], ...]


class Sampler:
    """Chooses token after token of one answer."""

    def __init__(self, sampling: Sampling, seen: Sequence[int]) -> None:
        """`seen` are the tokens of the prompt."""
        self._how = sampling
        self._rng = np.random.Generator(np.random.PCG64(sampling.seed))
        self._seen = set(seen)

    def choose(self, logits: Numbers, allowed: NDArray[np.bool_] | None = None) -> Chosen:
        """The next token for logits (vocabulary,), one of those that are `allowed`, which is at least one.

        Raises ValueError where the logits are no numbers.
        """
        how = self._how
        if not np.isfinite(logits.max()):
            raise ValueError("the logits are not finite")
        changed = logits
        if how.repetition_penalty != 1:
            changed = logits.copy()
            at = np.fromiter(self._seen, np.int64, len(self._seen))
            values = changed[at]
            changed[at] = np.where(values > 0, values / how.repetition_penalty, values * how.repetition_penalty)
        if allowed is not None:
            changed = np.where(allowed, changed, np.float32(-np.inf))
            if not np.isfinite(changed.max()):
                raise ValueError("the logits of what is allowed are not finite")
        chosen = int(changed.argmax()) if how.temperature == 0 else self._drawn(changed)
        self._seen.add(chosen)
        if how.logprobs is None:
            return Chosen(chosen, None, ())
        shifted = logits.astype(np.float64) - float(logits.max())
        logs = shifted - np.log(np.exp(shifted).sum())
        best = np.argsort(-logs, kind="stable")[: how.logprobs]
        return Chosen(chosen, float(logs[chosen]), tuple((int(one), float(logs[one])) for one in best))

    def _drawn(self, logits: Numbers) -> int:
        how = self._how
        scaled = (logits.astype(np.float64) - float(logits.max())) / how.temperature
        if 0 < how.top_k < len(scaled):
            candidates = np.argpartition(-scaled, how.top_k - 1)[: how.top_k]
            candidates.sort()
        else:
            candidates = np.arange(len(scaled))
        weights = np.exp(scaled[candidates])
        # what is not allowed, or as good as impossible, is not drawn, not even where the last sum is rounded
        candidates, weights = candidates[weights > 0], weights[weights > 0]
        if how.top_p < 1:
            kept = _most_probable(weights, how.top_p)
            candidates, weights = candidates[kept], weights[kept]
        if how.min_p > 0:
            enough = weights >= how.min_p * weights.max()
            candidates, weights = candidates[enough], weights[enough]
        sums = np.cumsum(weights)
        place = int(np.searchsorted(sums, self._rng.random() * sums[-1], side="right"))
        return int(candidates[min(place, len(candidates) - 1)])


def _most_probable(weights: NDArray[np.float64], share: float) -> NDArray[np.intp]:
    """The places, in order, of the fewest weights that have the share of all together; of equal ones the first."""
    wanted = share * weights.sum()
    # the whole vocabulary is sorted where it has to be alone: that takes as long as half a step of a small model
    least = np.partition(weights, -LARGEST)[-LARGEST] if len(weights) > LARGEST else 0.0
    for places in (np.flatnonzero(weights >= least), np.arange(len(weights))):
        order = places[np.argsort(-weights[places], kind="stable")]
        sums = np.cumsum(weights[order])
        if sums[-1] > wanted or len(order) == len(weights):
            break
    return np.sort(order[: int(np.searchsorted(sums, wanted)) + 1])
