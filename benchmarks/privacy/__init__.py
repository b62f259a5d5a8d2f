"""The first tier beside presidio-analyzer (patterns), datafog and scrubadub: what is found, and what it takes.

Found is measured on presidio-evaluator's generator, made by others for their own scanner, in six locales; bait are
order numbers, versions, hashes, timestamps and lines of Python's own library. `benchmarks.privacy.alone` measures the
first tier without its peers, on hostile texts too.
"""

from __future__ import annotations

import inspect
import json
import logging.handlers
import subprocess
import tarfile
import time
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.frame import Result, environment, measured
from policies.privacy import scan
from policies.privacy.scanner import THRESHOLD

PEER = Path(__file__).with_name("peer.py")
PRESIDIO = ("presidio-analyzer==2.2.366", "presidio-evaluator==0.3.2")
PEERS = {"presidio": PRESIDIO, "datafog": ("datafog==4.9.0",), "scrubadub": ("scrubadub==2.0.1",)}
LOCALES = ("en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "it_IT")
SENTENCES = 1_500
BAIT = 5_000
ROUNDS = 5
# what each calls the kinds that all are asked for; what the generator draws beside them is nobody's task here
KINDS = {
    "card": ("CREDIT_CARD", "credit_card"),
    "phone": ("PHONE_NUMBER", "PHONE", "phone"),
    "email": ("EMAIL_ADDRESS", "EMAIL", "email"),
    "bank_account": ("IBAN_CODE", "IBAN"),
    "ip_address": ("IP_ADDRESS",),
    "ssn": ("US_SSN", "SSN", "social_security_number"),
}
KIND = {name: kind for kind, names in KINDS.items() for name in (kind, *names)}

Span = tuple[int, int, str]
_CLEAN = ("The quick brown fox jumps over the lazy dog and went home to read about compilers. " * 3)[:200]
_OTHER = ("Die sch\u00f6ne Stra\u00dfe f\u00fchrt \u00fcber die Br\u00fccke zum M\u00fcller. " * 8)[:200]
_HAN = ("\u8bf7\u7528\u4e2d\u6587\u5199\u4e00\u6bb5\u5173\u4e8e\u7f16\u8bd1\u5668\u7684\u6587\u5b57\u3002" * 20)[:200]
_THREE = (
    "Please call +49 30 1234567 or write to ann@example.com; card 4111 1111 1111 1111 was used for the payment. "
    + _CLEAN
)[:200]
_NUMBERS = ("+49 30 12345, " * 2_000)[:16_384]
TIMED = {
    "200 characters, ASCII, clean": (_CLEAN, 500),
    "200 characters, German, clean": (_OTHER, 500),
    "200 characters, Chinese, clean": (_HAN, 500),
    "200 characters with three findings": (_THREE, 200),
    "16 KB of prose": ((_CLEAN + " ") * 81, 3),
    "16 KB of nothing but phone numbers": (_NUMBERS, 1),
}


def run() -> list[Result]:
    drawn = asked("presidio", "generate", {"locales": LOCALES, "count": SENTENCES})
    quiet = list(bait(Random(11)))  # noqa: S311 - the same each time
    texts = [one["text"] for one in drawn] + quiet
    timed = list(TIMED.values())
    answers = {"sealpress": [spans_of(text) for text in texts]}
    answers |= {name: asked(name, name, {"texts": texts, "timed": []})["spans"] for name in PEERS}
    times: dict[str, list[list[float]]] = {name: [] for name in answers}
    for number in range(ROUNDS):
        for name, taken in times.items():
            ours = name == "sealpress"
            taken.append(_times(timed) if ours else asked(name, name, {"texts": [], "timed": timed})["microseconds"])
            print(f"  round {number + 1}/{ROUNDS}  {name}", flush=True)
    recall, precision, calm = {}, {}, {}
    notes = []
    for name, answer in answers.items():
        found = [of_kinds(spans) for spans in answer]
        recall[name], told = recalled(drawn, found)
        precision[name] = precise(drawn, found)
        calm[name] = sum(not spans for spans in found[len(drawn) :]) / len(quiet)
        notes.append(f"{name} finds: {told}")
    notes.append("the first tier was mended on texts of the same generator with other seeds")
    kinds, where = (
        ", ".join(KINDS),
        f"{len(drawn)} sentences of presidio-evaluator's generator in {len(LOCALES)} locales",
    )
    results = [
        _result("privacy-recall", f"Share found of each {kinds} in {where}", "share", _once(recall), notes),
        _result(
            "privacy-precision", f"Share of findings that are personal data, in {where}", "share", _once(precision), []
        ),
        _result(
            "privacy-bait", f"Share of {len(quiet)} texts of bait in which nothing is found", "share", _once(calm), []
        ),
    ]
    for place, what in enumerate(TIMED):
        figures = {name: [one[place] for one in taken] for name, taken in times.items()}
        slug = what.replace(",", "").replace(" ", "-").lower()
        results.append(_result(f"privacy-time-{slug}", f"One scan of {what}", "us", figures, []))
    return results


def _once(figures: dict[str, float]) -> dict[str, list[float]]:
    """What comes out the same each time."""
    return {name: [figure] for name, figure in figures.items()}


def _result(name: str, what: str, unit: str, rounds: dict[str, list[float]], notes: list[str]) -> Result:
    notes = [*notes, "peers: " + ", ".join(one for names in PEERS.values() for one in names)]
    return measured(name, f"{what}.", unit, "sealpress", rounds, notes=notes, packages=["msgspec"])


def asked(peer: str, name: str, question: object) -> Any:
    python = environment(peer, *PEERS[peer])
    done = subprocess.run(
        [python, PEER, name], input=json.dumps(question), stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout[done.stdout.index("[" if name == "generate" else "{") :])


def spans_of(text: str) -> list[Span]:
    return [(one.start, one.end, one.category) for one in scan(text) if one.confidence >= THRESHOLD]


def of_kinds(spans: Iterable[Span]) -> list[Span]:
    """What all are asked for, under one name."""
    return [(start, end, KIND[name]) for start, end, name in spans if name in KIND]


def _times(timed: Iterable[tuple[str, int]]) -> list[float]:
    """Microseconds of one scan of each, as peer.py takes them."""
    times = []
    for text, runs in timed:
        scan(text)
        start = time.perf_counter()
        for _ in range(runs):
            scan(text)
        times.append((time.perf_counter() - start) / runs * 1e6)
    return times


def recalled(drawn: Sequence[Any], found: Sequence[list[Span]]) -> tuple[float, str]:
    """A span counts as found where at least half of it is, as whatever kind."""
    hits: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    for one, spans in zip(drawn, found, strict=False):
        for start, end, kind in one["spans"]:
            if kind in KIND:
                common = sum(max(0, min(end, b) - max(start, a)) for a, b, _ in spans)
                hits[KIND[kind]].append(common * 2 >= end - start)
    every = [hit for kind in hits.values() for hit in kind]
    told = ", ".join(f"{kind} {sum(one)} of {len(one)}" for kind, one in hits.items())
    return sum(every) / len(every), told


def precise(drawn: Sequence[Any], found: Sequence[list[Span]]) -> float:
    """A finding is right where it overlaps anything personal that was drawn."""
    right = [
        any(a < end and start < b for start, end, _ in one["spans"])
        for one, spans in zip(drawn, found, strict=False)
        for a, b, _ in spans
    ]
    return sum(right) / len(right)


def bait(random: Random) -> Iterator[str]:
    def digits(size: int) -> str:
        return str(random.randrange(10 ** (size - 1), 10**size))

    source = [
        line.strip()
        for module in (json, json.decoder, logging.handlers, subprocess, tarfile, typing, inspect)
        for line in inspect.getsource(module).splitlines()
        if len(line.strip()) > 20 and "@" not in line
    ]
    for number in range(BAIT // 5):
        word = random.choice(["order", "Order no.", "invoice", "ticket", "SKU", "tracking"])
        yield f"{word} {digits(random.randint(6, 16))}"
        parts = [str(random.randint(0, 40)) for _ in range(random.randint(2, 4))]
        yield f"{random.choice(['version ', 'v', 'release ', 'numpy==', 'build '])}{'.'.join(parts)}"
        word = random.choice(["commit", "sha256", "etag", "id", ""])
        yield f"{word} {random.randbytes(random.choice([8, 16, 20, 32])).hex()}"
        second = random.randint(1_000_000_000, 1_900_000_000)
        forms = ["%Y-%m-%dT%H:%M:%SZ", "%d.%m.%Y %H:%M:%S", "%Y%m%d%H%M%S", "[%d/%b/%Y:%H:%M:%S +0000]"]
        dates = [time.strftime(form, time.gmtime(second)) for form in forms]
        yield random.choice([str(second), f"{second}{digits(3)}", *dates])
        yield source[number % len(source)]
