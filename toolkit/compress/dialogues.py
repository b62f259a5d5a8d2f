"""Prompts and their answers as what a decoder learns from: those that a person wrote, or those of the model itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.compress.calibration import Calibration, Prompts
from toolkit.runtime.decoding import Prompter
from toolkit.runtime.sampling import Sampler, Sampling
from toolkit.runtime.session import Feeds
from toolkit.runtime.slots import PAST, PRESENT
from toolkit.train.errors import TrainingError
from toolkit.train.lesson import COUNTED

__all__ = ["told", "written"]

Step = Callable[[Feeds], Mapping[str, NDArray[Any]]]


def told(prompts: Prompts, data: Calibration) -> list[Feeds]:
    """Items of which the tokens of the answers count, and the one that ends them.

    Raises TrainingError "train_answers" for a prompt without an answer, or longer with it than the context; InputError.
    """
    if not prompts.answers:
        raise TrainingError("train_answers", "the items have no `answer`")
    prompter = Prompter(prompts.tokenizer, prompts.generation)
    end = prompts.generation.ends[0]
    pairs = []
    for prompt, answer in zip(prompts.items, prompts.answers, strict=True):
        said = prompter.tokenizer.encode(answer, add_special_tokens=False).ids
        pairs.append((_asked(prompter, prompt), [*said, end]))
    return _items(pairs, prompts, data)


def written(prompts: Prompts, data: Calibration, model: bytes, sampling: Sampling) -> list[Feeds]:
    """The same with what a model answers to each prompt, perhaps cut short. A prompt takes the number of its place on
    top of the seed. Raises TrainingError, InputError.

    Kim and Rush, "Sequence-Level Knowledge Distillation", 2016.
    """
    prompter, run = Prompter(prompts.tokenizer, prompts.generation), data.runner(model)
    empty = _empty(next(iter(data.feeds())))
    pairs = []
    for number, prompt in enumerate(prompts.items):
        asked = _asked(prompter, prompt)
        own = Sampling(max_tokens=sampling.max_tokens, temperature=sampling.temperature, seed=sampling.seed + number)
        room = min(own.max_tokens, prompts.generation.context - len(asked))
        answer = list(_answer(run, empty, asked, room, Sampler(own, asked), prompts.generation.ends))
        if answer:
            pairs.append((asked, answer))
        data.progress(f"answer {number + 1} of {len(prompts.items)}: {len(answer)} tokens")
    return _items(pairs, prompts, data)


def _asked(prompter: Prompter, prompt: str) -> list[int]:
    """A prompt as the model is asked it: as a turn of a person, where it knows turns."""
    if prompter.generation.chat is None:
        return prompter.plain(prompt)
    return prompter.chat([{"role": "user", "content": prompt}])


def _answer(
    run: Step, empty: Feeds, asked: Sequence[int], room: int, sampler: Sampler, ends: Sequence[int]
) -> Iterator[int]:
    """The tokens of an answer, with the one that ends it."""
    given, cache, behind = list(asked), dict(empty), 0
    for _ in range(room):
        behind += len(given)
        made = run(
            {
                **cache,
                "input_ids": np.array([given], np.int64),
                "attention_mask": np.ones((1, behind), np.int64),
                "num_logits_to_keep": np.ones(1, np.int64),
            }
        )
        try:
            chosen = sampler.choose(made["logits"][0, -1]).id
        except ValueError as error:
            raise TrainingError("train_teacher", f"what it says is no number: {error}") from None
        yield chosen
        if chosen in ends:
            return
        given, cache = [chosen], {name: made[PRESENT + name.removeprefix(PAST)] for name in empty}


def _empty(feeds: Feeds) -> dict[str, NDArray[Any]]:
    """A cache without tokens."""
    return {name: value[:, :, :0] for name, value in feeds.items() if name.startswith(PAST)}


def _items(pairs: Sequence[tuple[list[int], list[int]]], prompts: Prompts, data: Calibration) -> list[Feeds]:
    empty = _empty(next(iter(data.feeds())))
    items: list[Feeds] = []
    for number, (asked, answer) in enumerate(pairs):
        ids = [*asked, *answer]
        if len(ids) > prompts.generation.context:
            told = (
                f"prompt and answer {number + 1} have {len(ids)} tokens, the context has {prompts.generation.context}"
            )
            raise TrainingError("train_answers", told)
        counted = np.zeros((1, len(ids)), np.int64)
        counted[0, len(asked) :] = 1
        items.append(
            {
                "input_ids": np.array([ids], np.int64),
                "attention_mask": np.ones((1, len(ids)), np.int64),
                "num_logits_to_keep": np.zeros(1, np.int64),
                **empty,
                COUNTED: counted,
            }
        )
    return items
