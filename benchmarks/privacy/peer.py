"""Another scanner, run in an environment of its own: python peer.py NAME, texts in and spans out as JSON.

`generate` draws texts with presidio-evaluator instead, from its own templates and Faker's locales.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable

Span = tuple[int, int, str]


def generate(locales: list[str], count: int) -> list[dict[str, object]]:
    from presidio_evaluator.data_generator import PresidioSentenceFaker

    made = []
    # the forms of the first tier were mended on other seeds
    for number, locale in enumerate(locales):
        faker = PresidioSentenceFaker(locale, lower_case_ratio=0.05, random_seed=1_000 + number)
        for one in faker.generate_new_fake_sentences(num_samples=count):
            spans = [(span.start_position, span.end_position, span.entity_type) for span in one.spans]
            made.append({"text": one.full_text, "spans": spans})
    return made


def presidio() -> Callable[[str], Iterable[Span]]:
    """Its patterns and context words, without a model of a language: words count as their own lemmas."""
    import spacy
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import SpacyNlpEngine
    from spacy.language import Language
    from spacy.tokens import Doc

    @Language.component("lower")
    def lower(doc: Doc) -> Doc:
        for token in doc:
            token.lemma_ = token.lower_
        return doc

    class Blank(SpacyNlpEngine):
        def __init__(self) -> None:
            super().__init__()
            self.nlp = {"en": spacy.blank("en")}
            self.nlp["en"].add_pipe("lower")

    # 0.4 is what a phone number gets without a word
    engine = AnalyzerEngine(nlp_engine=Blank(), supported_languages=["en"], default_score_threshold=0.4)
    return lambda text: ((one.start, one.end, one.entity_type) for one in engine.analyze(text=text, language="en"))


def datafog() -> Callable[[str], Iterable[Span]]:
    from datafog.engine import scan

    return lambda text: ((one.start, one.end, one.type) for one in scan(text, engine="regex").entities)


def scrubadub() -> Callable[[str], Iterable[Span]]:
    import scrubadub as package

    scrubber = package.Scrubber(locale="en_US")
    return lambda text: ((one.beg, one.end, one.type) for one in scrubber.iter_filth(text))


def main() -> None:
    asked = json.load(sys.stdin)
    if sys.argv[1] == "generate":
        json.dump(generate(**asked), sys.stdout)
        return
    scan = {"presidio": presidio, "datafog": datafog, "scrubadub": scrubadub}[sys.argv[1]]()
    spans = [list(scan(text)) for text in asked["texts"]]
    times = []
    for text, runs in asked["timed"]:
        list(scan(text))
        start = time.perf_counter()
        for _ in range(runs):
            list(scan(text))
        times.append((time.perf_counter() - start) / runs * 1e6)
    json.dump({"spans": spans, "microseconds": times}, sys.stdout)


if __name__ == "__main__":
    main()
