"""The words before a number, which say what it is: what is found, before and after they are weighed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from policies.privacy.words import SPACES, Words, joined, within

__all__ = ["Candidate", "Context", "Weights"]

REACH = 40  # characters from where a word begins to where the number does
GAP = 24  # characters between numbers that come together

# A space at an end of a word stands for the end of a word.
VOCABULARY: dict[str, tuple[str, ...]] = {
    # what many numbers are that are nobody's
    "other": (
        "#", " order", "invoice", "ticket", " ref ", "reference", " sku", "isbn", " ean ", "imei", "serial", "article",
        "artikel", "version", " build", "tracking", "parcel", "commit ", "bestell", "rechnung", "commande", "facture",
        "pedido", "factura", "ordine", "fattura", "订单", "单号", "编号",
    ),
    "phone": (
        "phone", "mobil", " cell", " call", " ring ", " fax", "whatsapp", " sms ", " text me", " message",
        "answering", " desk ", " office ", "registered", "contact", " reach", "telef", " tel ", " handy", " anruf",
        " ruf", "tél ", "appel", "portable", "joindre", "télef", "teléf", "téléf", "móvil", "movil", "llam", "llám",
        "cellulare", "chiam", "电话", "手机", "联系", "拨打", "致电", "号码",
    ),
    "card": (
        "card", "credit", "debit", " cc ", "visa", "master", "amex", "cvv", "cvc", "karte", "carte", "tarjeta",
        "carta", "crédito", "卡",
    ),
    "iban": ("iban", "konto", "account", "compte", "cuenta", "账户"),
    "codice": ("codice", "fiscale", " c f "),
    "nie": (" nie ", " nif ", "extranjer", "identidad"),
    "dni": (" dni ", " nif ", "identidad", "documento"),
    "resident": ("身份证", "公民", "resident", "identity"),
    "company": ("信用代码", "uscc", "credit code", "税号"),
    "nir": ("sécu", "secu", " nir ", "insee", "assuré", "vitale"),
    "aadhaar": ("aadhaar", "aadhar", "uidai", "आधार"),
    "ssn": ("ssn", "social sec", " ss #", " taxpayer", " itin "),
    "nino": ("national insurance", "nino", " ni ", "social sec", "ssn"),
    "nhs": (" nhs", "patient", "health number", "health service"),
    "steuer": ("steuer", "idnr", " tin ", " tax", "identifikationsn"),
    "address": (
        " ip ", " ips ", " ipv ", " addr", " host", "client", "remote", "adresse", "direcci", "indirizzo", "地址",
    ),
    # behind a number; the other words that stand there stand before one, too
    "whose phone": (" home ", " work "),
    "place": (
        " lat", " lon", " lng", " gps", "coord", "koord", "location", "position", "standort", "ubicaci", "posizione",
        "坐标", "位置",
    ),
}  # fmt: skip


class Weights(NamedTuple):
    """The confidence in a number: after a word of its vocabulary, after a word for what is nobody's, and alone."""

    vocabulary: str
    known: float
    other: float
    alone: float


Candidate = tuple[int, int, str, float | Weights]  # start, end, category, and the confidence or how it is weighed


class Context:
    """A text in plain form, where numbers may be in it, and the words around them.

    `doubtful` is whether candidates are wanted that no word speaks for. A space is put before the text, so that every
    number has something before it, to which a search can skip: places are those of the text with the space.
    """

    def __init__(self, text: str, *, doubtful: bool) -> None:
        self.text = f" {text}"
        self.lowered = self.text.lower()
        self._doubtful = doubtful
        self._stretches: list[tuple[int, int]] | None = None
        self._words: _Heard | None = None

    @property
    def stretches(self) -> list[tuple[int, int]]:
        """Where numbers of 7 digits or more may begin, and what stands before them."""
        if self._stretches is None:
            self._stretches = self._around(_NUMBER, 1, REACH + GAP)
        return self._stretches

    def numbers(self, number: re.Pattern[str]) -> Iterator[re.Match[str]]:
        """The numbers of 7 digits or more of some form, which begins with what stands before."""
        return within(self.text, number, self.stretches)

    def lettered(self, number: re.Pattern[str]) -> Iterator[re.Match[str]]:
        """The numbers of some form that begins with what stands before, and with one to six letters."""
        return within(self.text, number, self._around(_LETTERED, 8, REACH + GAP))

    def doubtful(self, number: re.Pattern[str], *vocabularies: str) -> Iterator[re.Match[str]]:
        """The numbers of some form; only those near a word of the vocabularies, where others are not wanted."""
        return number.finditer(self.text) if self._doubtful else self.near(number, *vocabularies)

    def near(self, number: re.Pattern[str], *vocabularies: str) -> Iterator[re.Match[str]]:
        """The numbers of some form that begin within reach of a word of the vocabularies."""
        said = self._heard().by_name
        spans = sorted(span for name in vocabularies if name in said for span in said[name])
        return within(self.text, number, joined((start - REACH - 1, end + REACH) for start, end in spans))

    def confidence(self, start: int, weights: float | Weights) -> float:
        """The confidence in what begins at `start`; asked in the order of the text."""
        return weights if isinstance(weights, float) else self._heard().weigh(start, weights)

    def _heard(self) -> _Heard:
        if self._words is None:
            self._words = _Heard(self.lowered, self._around(_FIGURES, REACH, REACH))
        return self._words

    def _around(self, number: re.Pattern[str], before: int, after: int) -> list[tuple[int, int]]:
        """Stretches from so many characters before numbers of some form to so many after where they begin."""
        starts = []
        match = number.search(self.text)
        while match is not None:
            starts.append(match.start())
            # of numbers that come together not every one is looked for
            match = number.search(self.text, match.start() + REACH)
        return list(joined((start - before, start + after) for start in starts))


class _Heard:
    """The words in some stretches of a text in lower case."""

    def __init__(self, lowered: str, stretches: Iterable[tuple[int, int]]) -> None:
        self.by_name: dict[str, list[tuple[int, int]]] = {}
        self._order: list[tuple[int, int, Sequence[str]]] = []
        for low, high in stretches:
            for word in _WORDS.pattern.finditer(lowered, low, high):
                names = _MEANINGS.get(word[0]) or _MEANINGS[word[0].translate(SPACES)]
                start, end = word.span()
                self._order.append((start, end, names))
                for name in names:
                    self.by_name.setdefault(name, []).append((start, end))
        self._order.append((sys.maxsize, sys.maxsize, ()))
        self._place = 0
        self._last: dict[str, int] = {}

    def weigh(self, start: int, weights: Weights) -> float:
        order, last, place = self._order, self._last, self._place
        while order[place][1] <= start:
            begin, _, names = order[place]
            for name in names:
                last[name] = begin
            place += 1
        self._place = place
        vocabulary, known, other, alone = weights
        if last.get(vocabulary, -REACH) >= start - REACH:
            return known
        return other if last.get("other", -REACH) >= start - REACH else alone


# Where a number of 7 digits or more may begin: not inside a word, a longer number or a decimal fraction. ASCII
# look-arounds, since \b finds no boundary between a digit and a Han character; they stand behind the first character,
# so that the search can skip to it.
_NUMBER = re.compile(r"[+(0-9](?<![0-9A-Za-z].)(?<![0-9]\..)(?=(?:[ ().\-/]{0,2}[0-9]){5}[ ().\-/ABab]{0,2}[0-9])")
# two digits after letters, or after a sign behind one letter or two
_LETTERED = re.compile(
    r"[0-9](?<=[A-Za-z -].)(?=[0-9])(?:(?<=[A-Za-z].)|(?<=[^0-9A-Za-z][A-Za-z][ -].)|(?<=[^0-9A-Za-z][A-Za-z]{2}[ -].))"
)
# what may be the least of numbers, the address of a machine
_FIGURES = re.compile(r"[0-9](?:[ ().\-/]{0,2}[0-9]){3}")
_WORDS = Words({word for words in VOCABULARY.values() for word in words})
# a longer word may hold a shorter one
_MEANINGS = {
    word.strip(" "): tuple(
        name for name, words in VOCABULARY.items() if any(one in f" {word.strip(' ')} " for one in words)
    )
    for words in VOCABULARY.values()
    for word in words
}
