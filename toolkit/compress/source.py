"""The seam behind which models come: a source was looked at and not loaded; an original is loaded and can run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from numpy.typing import NDArray

from policies.gate import Grant
from policies.payload import Payload
from toolkit.compress.data import Items
from toolkit.runtime.inputs import Generation, ImageInput, TextInput
from toolkit.runtime.readers import Reader
from toolkit.runtime.session import Feeds

__all__ = ["Generates", "Measure", "Original", "Source"]

# how the answers of a pressed model are held against the original's, item by item (toolkit.compress.measure)
Measure = Literal["cosine", "agreement", "tokens", "divergence", "correlation", "next"]


class Original(Protocol):
    """The model as it was brought, FP32 and in eval mode. Runs under a grant only."""

    @property
    def names(self) -> tuple[str, ...]:
        """The inputs in their order."""
        ...

    def export(self) -> bytes:
        """The ONNX file, the same bytes in every folder and process. Raises CompressionError."""
        ...

    def run(self, grant: Grant, in_force: str, feeds: Callable[[Payload], Iterable[Feeds]]) -> list[list[NDArray[Any]]]:
        """The outputs of each batch, in the order of the exported graph. Raises Ungated, SourceError."""
        ...

    def trials(self, items: Sequence[Any], reader: Reader) -> Iterator[Feeds]:
        """Batches of several sizes and lengths that the export must give the same answers to as the original."""
        ...


class Source(Protocol):
    """A model that was looked at and not loaded. `digest` identifies the bytes that decide what it does.

    `licences` are the statements of its papers, raw, for `policies.licences.agreed`; `licence_text` and `notice` are
    the texts that came with it. `text` or `image` says how inputs become tensors; without both it takes tensors.
    `languages` are those that its papers name; `parameters` counts the numbers in its weights; `convolves` says whether
    other recipes are right than for linear layers.
    """

    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def licences(self) -> tuple[str, ...]: ...
    @property
    def licence_text(self) -> str | None: ...
    @property
    def notice(self) -> str | None: ...
    @property
    def text(self) -> TextInput | None: ...
    @property
    def image(self) -> ImageInput | None: ...
    @property
    def tokenizer(self) -> bytes | None: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def languages(self) -> tuple[str, ...]: ...
    @property
    def measure(self) -> Measure: ...
    @property
    def parameters(self) -> int: ...
    @property
    def convolves(self) -> bool: ...

    def examples(self, count: int, seed: int = 0) -> Items:
        """Inputs to measure on where a person has none to give. Raises SourceError "source_examples"."""
        ...

    def load(self) -> Original:
        """The model in memory. Raises SourceError, MissingExtra."""
        ...


@runtime_checkable
class Generates(Protocol):
    """A source of a model that generates: how it does."""

    @property
    def generation(self) -> Generation: ...
