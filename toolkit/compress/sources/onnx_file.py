"""Take in an ONNX file from anywhere: look at all that could reach out of it, run nothing of it.

Everything in the file is hostile. Its external data may name any file of the host (CVE-2022-25882, CVE-2024-5187),
its functions may unfold without end, its operators may need code, its shapes may describe what no memory holds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from policies.gate import Grant
from policies.payload import Payload
from toolkit.compress.data import Items
from toolkit.compress.errors import SourceError, SourceMissing
from toolkit.compress.quiet import quiet
from toolkit.compress.source import Measure
from toolkit.compress.sources.folder import PICKLES, File, Folder
from toolkit.extras import needs
from toolkit.runtime.readers import Reader
from toolkit.runtime.session import Feeds, Session

if TYPE_CHECKING:
    import onnx

__all__ = ["OnnxFile", "OnnxOriginal", "read"]

MAX_MODEL = 1_900_000_000  # with its external data: an ONNX file holds 2 GB
TRIALS = 4

_PICKLED = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # TorchScript and torch.save are zips


class OnnxFile(Struct, frozen=True, kw_only=True):
    """A Source (toolkit.compress.source): an ONNX file that was looked at and not loaded.

    It takes and gives tensors. `files` are the file itself and then those beside it that hold its external data.
    """

    name: str
    digest: str
    task: str = "tensors"
    licences: tuple[str, ...]
    licence_text: str | None
    notice: str | None
    text: None = None
    image: None = None
    tokenizer: None = None
    labels: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    measure: Measure
    parameters: int
    convolves: bool
    files: tuple[File, ...]

    def load(self) -> OnnxOriginal:
        """Raises SourceError: source_changed, source_malformed, source_too_large, source_weights; ModelError."""
        return OnnxOriginal(_whole(self.files).SerializeToString(deterministic=True), self.digest)

    def examples(self, count: int, seed: int = 0) -> Items:
        """Made-up inputs, where a person has none to give. See toolkit.compress.made_up. Raises SourceError."""
        from toolkit.compress.made_up import made_up

        return made_up(_whole(self.files), count, seed)


class OnnxOriginal:
    """The file as it was brought, in a session. Runs under a grant only."""

    def __init__(self, model: bytes, digest: str) -> None:
        """Raises ModelError for a model that the runtime does not take."""
        self._model = model
        self._session = Session(model, digest)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(tensor.name for tensor in self._session.inputs)

    def export(self) -> bytes:
        """The same model in the form that steps expect. Raises CompressionError "export_failed"."""
        from toolkit.compress.sources.onnx_form import regular

        return regular(self._model)

    def run(self, grant: Grant, in_force: str, feeds: Callable[[Payload], Iterable[Feeds]]) -> list[list[NDArray[Any]]]:
        """See Original. Raises Ungated, ModelError."""
        return self._session.run(grant, in_force, feeds)

    def trials(self, items: Sequence[Feeds], reader: Reader) -> Iterator[Feeds]:
        """A few of the items, and the first in twice the batch where a dimension of inputs and outputs has one name."""
        for item in items[:TRIALS]:
            yield reader.feeds([item])
        shared = {dim for tensor in self._session.outputs for dim in tensor.shape[:1] if isinstance(dim, str)}
        for batch in sorted(shared & {dim for tensor in self._session.inputs for dim in tensor.shape} - {"None", "?"}):
            one = reader.feeds(items[:1])
            yield {
                tensor.name: np.concatenate([one[tensor.name]] * 2, axis=tensor.shape.index(batch))
                if batch in tensor.shape
                else one[tensor.name]
                for tensor in self._session.inputs
            }


def read(path: Path, *, limit: int = MAX_MODEL) -> OnnxFile:
    """The model in a file of at most `limit` bytes, external data included. Raises SourceMissing, SourceError,
    MissingExtra."""
    with quiet(), needs("compress"):
        from toolkit.compress.sources import onnx_checks
        from toolkit.compress.sources.papers import read_papers
    if not path.is_file():
        raise SourceMissing("source_not_found", f"there is no file at {path}")
    root = _root(path.absolute())
    folder, name = Folder(root), path.absolute().relative_to(root).as_posix()
    data = folder.read(name, limit)
    if data.startswith(_PICKLED) or path.suffix.lower() in PICKLES:
        raise SourceError("source_pickle", f"{path} is a pickle or holds one")
    model = onnx_checks.parsed(data)
    onnx_checks.refuse_foreign(model)
    spans = onnx_checks.external(model)
    if (size := len(data) + sum(span.length for span in spans)) > limit:
        raise SourceError("source_too_large", f"the model has {size} bytes with its external data, at most {limit}")
    base = name.rpartition("/")[0]
    beside = sorted({f"{base}/{span.location}" if base else span.location for span in spans})
    for other in beside:
        if not folder.has(other):
            raise SourceError("source_external", f"{path} keeps data in {other[:200]!r}, which is not beside it")
        folder.hash(other, limit)
    files = tuple(folder.used[one] for one in (name, *beside))
    # the papers, read after this line, decide about the terms and not about what the model does
    papers = read_papers(folder)
    return OnnxFile(
        name=re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-.")[:100] or "model",
        digest=hashlib.sha256(msgspec.json.encode([file.sha256 for file in files])).hexdigest(),
        licences=papers.statements,
        licence_text=papers.licence,
        notice=papers.notice,
        measure="divergence" if onnx_checks.classifies(model) else "correlation",
        parameters=onnx_checks.parameters(model),
        convolves=any(node.op_type == "Conv" for node in model.graph.node),
        files=files,
    )


def _root(path: Path) -> Path:
    """The folder that nothing may lead out of: the file's own; in the hub's cache the snapshot, papers and all."""
    return next((folder for folder in path.parents if folder.parent.name == "snapshots"), path.parent)


def _whole(files: Sequence[File]) -> onnx.ModelProto:
    """The model with all of its data in it, checked."""
    with quiet(), needs("compress"):
        from toolkit.compress.sources import onnx_checks
    own, *beside = files
    base = own.name.rpartition("/")[0]
    model = onnx_checks.parsed(own.read())
    blocks = {file.name.removeprefix(f"{base}/"): file.read() for file in beside}
    onnx_checks.embed(model, blocks)
    onnx_checks.check(model)
    return model
