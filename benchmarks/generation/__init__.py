"""SmolLM2-135M pressed by recipes of the toolkit, beside other engines: how fast it reads and writes, how well it
foretells text, and what the server adds.

Each part runs by itself, too: `python -m benchmarks generation-quality`, and so on; only the first needs no quiet
machine. About ten minutes in all where bundles and environments are there.
"""

from __future__ import annotations

from benchmarks.frame import Result
from benchmarks.generation import quality, served, speed

__all__ = ["run"]


def run() -> list[Result]:
    """Perplexity, decoding and reading, and the server. Raises FileNotFoundError without the passages of Wikipedia."""
    return [result for part in (quality, speed, served) for result in part.run()]
