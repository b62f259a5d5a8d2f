"""Models that look at a payload: what they are given, and what is believed of what they say."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from policies.errors import Ungated
from policies.facts import Call
from policies.privacy import Detected, redact
from policies.privacy.detectors import look, must_look

CALL = Call(id="c", at=0, actor="a", tenant="t", action="infer", model="m", detector="d")


class Knows:
    """Finds a name wherever it stands."""

    def __init__(self, name: str, digest: str = "d") -> None:
        self.name = name
        self.digest = digest
        self.given: list[tuple[str, ...]] = []

    def scan(self, texts: Sequence[str], call: Call) -> list[list[Detected]]:
        assert call == CALL
        self.given.append(tuple(texts))
        return [self.found(text) for text in texts]

    def found(self, text: str) -> list[Detected]:
        start = text.find(self.name)
        return [] if start < 0 else [_person(start, start + len(self.name))]


def _person(start: int, end: int) -> Detected:
    return Detected(start=start, end=end, category="person_name", confidence=0.9)


def test_every_text_with_a_letter_is_looked_at_once() -> None:
    anna = Knows("Anna")
    spans = look([anna], ["Anna", "12", "", "x Anna", "Anna", "…", "张"], CALL)
    assert anna.given == [("Anna", "x Anna", "张")]
    assert spans == {"Anna": (_person(0, 4),), "x Anna": (_person(2, 6),)}


def test_without_a_text_to_look_at_no_model_runs() -> None:
    anna = Knows("Anna")
    assert look([anna], ["12", "3.5"], CALL) == {}
    assert anna.given == []


def test_what_several_find_is_told_in_order() -> None:
    text = "Bob and Anna"
    spans = look([Knows("Anna"), Knows("Bob", "e")], [text], CALL)
    assert spans == {text: (_person(0, 3), _person(8, 12))}
    assert redact(text, spans[text]) == "███ and ███"


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (2, 2), (3, 2), (0, 5)])
def test_a_finding_outside_of_its_text_is_refused(start: int, end: int) -> None:
    class Wrong(Knows):
        def found(self, text: str) -> list[Detected]:
            return [_person(start, end)]

    with pytest.raises(ValueError, match="outside"):
        look([Wrong("")], ["Anna"], CALL)


def test_an_answer_to_another_number_of_texts_is_refused() -> None:
    class Short(Knows):
        def scan(self, texts: Sequence[str], call: Call) -> list[list[Detected]]:
            return [[]]

    with pytest.raises(ValueError, match="shorter"):
        look([Short("")], ["a", "b"], CALL)


def test_the_detector_that_a_call_names_must_be_there() -> None:
    must_look([Knows("Anna", "e"), Knows("Anna")], CALL)
    must_look([], Call(id="c", at=0, actor="a", tenant="t", action="scan", model="m"))
    for detectors in ([], [Knows("Anna", "e")]):
        with pytest.raises(Ungated) as caught:
            must_look(detectors, CALL)
        assert caught.value.code == "detector_missing"
