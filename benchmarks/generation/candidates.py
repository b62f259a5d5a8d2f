"""What is compared: bundles by recipes of the toolkit, and other engines on the same file. All read the same tokens.

The parent is a file of few bits already, which every result says.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.generation.own import Original, Own
from benchmarks.generation.peers import Peer, engines

__all__ = [
    "FAST",
    "FINE",
    "MINE",
    "PACKAGES",
    "PROMPT",
    "SMALL",
    "TEXTS",
    "WIDE",
    "Candidates",
    "all_of_them",
    "cut",
    "passages",
]

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "wiki_passages"
SMALL = "offset-t8"
RECIPES = ("w8-t8", SMALL)
FAST, FINE, WIDE, MINE = "llama.cpp Q4_0", "llama.cpp Q4_K_M", "sealpress w8-t8", f"sealpress {SMALL}"
TEXTS, CHARACTERS = 4, 2400
PACKAGES = ["sealpress", "onnxruntime", "numpy", "tokenizers"]
PROMPT = "The nurse on the third ward asks where the patient with the fever was moved to last night. " * 6


class Candidates(NamedTuple):
    """`own` are asked through gate and journal, `others` alone; `notes` are for every result."""

    original: Original
    own: dict[str, Own]
    others: dict[str, Peer]
    notes: list[str]

    @property
    def sizes(self) -> dict[str, int]:
        return {name: one.size for name, one in {**self.own, **self.others}.items()}


@contextmanager
def all_of_them() -> Iterator[Candidates]:
    """Bundles that are missing are pressed. Processes of others end with it."""
    original = Original()
    own = {f"sealpress {recipe}": Own(recipe, original, passages()) for recipe in RECIPES}
    others, missing = engines(original)
    found = Candidates(original, own, others, [])
    found.notes.append(
        f"The parent is a file of few bits already: {original.rounded}. What llama.cpp has in other types is quantised "
        "anew from it, and FP32 is the file made floats."
    )
    found.notes.append("MB: " + ", ".join(f"{name} {size / 1e6:.1f}" for name, size in found.sizes.items()) + ".")
    found.notes.extend(missing)
    try:
        yield found
    finally:
        for peer in others.values():
            peer.close()


def passages() -> list[str]:
    """Some of wiki_passages/dev."""
    return cut((DATA / "dev.txt").read_text("utf-8"))


def cut(text: str) -> list[str]:
    """Texts from places all over a long one."""
    apart = len(text) // TEXTS
    return [text[at * apart : at * apart + CHARACTERS] for at in range(TEXTS)]
