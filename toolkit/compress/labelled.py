"""How models that label tokens are measured: token by token against the original, and by entities that were marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle import Found
from toolkit.compress.errors import ItemsError
from toolkit.runtime.entities import OUTSIDE, Entity, tags

if TYPE_CHECKING:
    from toolkit.compress.data import Marked

__all__ = ["METHOD", "agreement", "compared", "counts", "naming_texts", "padded"]

METHOD = (
    "exact: an entity that is found is right where its kind and both of its ends are those of a marked one "
    "(Tjong Kim Sang and De Meulder, 2003), texts read as a whole"
)


def padded(answers: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Logits (1, tokens, labels) of texts one behind the other, (texts, most tokens, labels): NaN behind the end."""
    longest = max(answer.shape[1] for answer in answers)
    return np.concatenate(
        [np.pad(answer, ((0, 0), (0, longest - answer.shape[1]), (0, 0)), constant_values=np.nan) for answer in answers]
    )


def agreement(
    reference: NDArray[np.float32], answers: NDArray[np.float32], labels: Sequence[str]
) -> NDArray[np.float64]:
    """For each text the share of tokens with the same label, among those that either gives another one than "O": what
    is outside for both is most of a text, and would hide that nothing is found any more. 1 where there are none.

    Both are logits as `padded` gives them. NaN where an answer is not finite.
    """
    if reference.shape != answers.shape:
        return np.full(len(reference), np.nan)
    tokens: NDArray[np.bool_] = np.asarray(np.isfinite(reference).all(axis=2))
    left, right = reference.argmax(axis=2), answers.argmax(axis=2)
    outside = [number for number, label in enumerate(labels) if label == OUTSIDE]
    counted: NDArray[np.bool_] = tokens & ~(np.isin(left, outside) & np.isin(right, outside))
    same = (counted & (left == right)).sum(axis=1)
    found = np.where(counted.any(axis=1), same / np.maximum(counted.sum(axis=1), 1), 1.0)
    found[(tokens & ~np.isfinite(answers).all(axis=2)).any(axis=1)] = np.nan
    return found


def compared(
    found: Sequence[Sequence[Entity]], marked: Sequence[Sequence[Marked]], labels: Sequence[str]
) -> dict[str, Found]:
    """What was found of each kind of entity that the model knows, text by text.

    Raises ItemsError "data_format" for marked kinds that are none of them: they would count as missed.
    """
    kinds = sorted({tag.kind for tag in tags(labels)} - {""})
    strange = {one.label for text in marked for one in text}.difference(kinds)
    if strange:
        names = ", ".join(sorted(label[:80] for label in strange)[:5])
        raise ItemsError("data_format", f"marked as {names}; the model knows {', '.join(kinds)[:500]}")
    told, right, gold = Counter[str](), Counter[str](), Counter[str]()
    for here, there in zip(found, marked, strict=True):
        told.update(kind for kind, _, _ in _places(here))
        gold.update(kind for kind, _, _ in _places(there))
        right.update(kind for kind, _, _ in _places(here) & _places(there))
    return {
        kind: Found(
            precision=_share(right[kind], told[kind]),
            recall=_share(right[kind], gold[kind]),
            found=told[kind],
            gold=gold[kind],
        )
        for kind in kinds
        if told[kind] or gold[kind]
    }


def counts(
    found: Sequence[Sequence[Entity]], marked: Sequence[Sequence[Marked]]
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """By precision and recall over all kinds, for each text: how many were right, and of how many, (texts,) each."""
    pairs = [(_places(here), _places(there)) for here, there in zip(found, marked, strict=True)]
    right = np.array([len(here & there) for here, there in pairs])
    return {
        "precision": (right, np.array([len(here) for here, _ in pairs])),
        "recall": (right, np.array([len(there) for _, there in pairs])),
    }


def naming_texts(count: int) -> list[str]:
    """Sentences in English, German, French and Spanish with persons, places, companies, addresses and telephone numbers
    that are made up: the same every time. They show that two models find the same, not how well either finds."""
    names = ("person", "other", "place", "company", "street")
    rows = zip(*(islice(cycle(values), count) for values in (_TEMPLATES, *_PARTS)), strict=True)
    return [
        template.format(**dict(zip(names, parts, strict=True)), number=100 + 7 * row)
        for row, (template, *parts) in enumerate(rows)
    ]


_PERSONS = (
    "Anna Schmidt", "James Okafor", "Marie Dubois", "Luis García", "Mei Tanaka", "Olena Kovalenko", "Giovanni Rossi",
    "Fatima Haddad", "Peter O'Neill", "Zoë van Dijk", "Rahul Mehta",
)  # fmt: skip
_PLACES = ("Berlin", "Lyon", "Sevilla", "Manchester", "Boston", "Kraków", "Genève", "Nairobi", "Osaka")
_COMPANIES = ("Nordwind Logistics", "Hôpital Saint-Luc", "Acme Bearings", "Clínica del Mar", "Bergmann & Söhne GmbH")
_STREETS = ("Hauptstraße", "Oak Avenue", "rue de la Paix", "calle Mayor", "Mill Lane", "Lindenweg", "Baker Street")
_TEMPLATES = (
    "{person} from {place} was seen by {other} at {company} on Monday.",
    "Please send the results to {person}, {number} {street}, {place}.",
    "{person} wohnt in der {street} {number} in {place} und arbeitet bei {company}.",
    "Frau {person} ruft morgen unter 030 5550{number} zurück, sagte {other}.",
    "{person} habite à {place}, {number} {street}, et travaille chez {company}.",
    "Madame {person} a rencontré {other} à {place} au mois de mai.",
    "{person} vive en {place}, {street} {number}, y trabaja en {company}.",
    "La paciente {person} llamó a {other} desde {place}.",
    "Nothing in this sentence is about anybody, and nothing should be found in it.",
    "{company} has opened a ward in {place}; ask {person} or {other} for room {number}.",
    "Der Bericht nennt weder Namen noch Orte, nur die Werte der letzten Woche.",
    "My name is {person}, I was born in {place}, and {other} is my doctor.",
    "Call {person} at 555-0{number} or write to {street} {number}, {place}.",
)  # fmt: skip
# of lengths that share no divisor, so that few sentences are alike
_PARTS = (_PERSONS, _PERSONS[4:] + _PERSONS[:4], _PLACES, _COMPANIES, _STREETS)


def _places(entities: Collection[Entity | Marked]) -> set[tuple[str, int, int]]:
    return {(one.label, one.start, one.end) for one in entities}


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
