"""Take in a SavedModel folder of TensorFlow 2: look at every operation in it, run nothing of it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np

from toolkit.compress.errors import SourceError
from toolkit.compress.quiet import quiet
from toolkit.compress.source import Original
from toolkit.compress.sources.folder import File, Folder
from toolkit.compress.sources.saved_model_checks import check_saved
from toolkit.compress.sources.tensorflow_source import PREPROCESSOR, TensorflowSource, name_of, stated_image
from toolkit.extras import needs

__all__ = ["PROGRAM", "SavedModel", "read"]

PROGRAM = "saved_model.pb"
_WEIGHTS = re.compile(r"variables\.(index|data-\d{5}-of-\d{5})")


class SavedModel(TensorflowSource, frozen=True, kw_only=True):
    """A Source (toolkit.compress.source): a SavedModel that was looked at and not loaded.

    It takes and gives tensors by the names of its signature, or images where a preprocessor_config.json beside it says
    how they become its one tensor.
    """

    files: tuple[File, ...]
    outputs: tuple[str, ...]

    def load(self) -> Original:
        """See toolkit.compress.source. Raises SourceError, MissingExtra."""
        with quiet(), needs("compress"):
            from toolkit.compress.sources.saved_model_signature import SIGNATURE
            from toolkit.compress.sources.tensorflow_graph import TensorflowModel, tensorflow
        tf = tensorflow()
        # the bytes that were checked, in a place that nobody else writes to
        with quiet(), TemporaryDirectory(prefix="sealpress-") as place:
            for file in self.files:
                copy = Path(place) / file.name
                copy.parent.mkdir(exist_ok=True)
                copy.write_bytes(file.read())
            try:
                loaded = tf.saved_model.load(place)
                signature = loaded.signatures[SIGNATURE]
            except Exception as error:  # noqa: BLE001 - errors of TensorFlow have no root
                raise SourceError("source_weights", f"TensorFlow does not load it: {str(error)[:200]!r}") from None
            for variable in signature.variables:
                if variable.dtype.is_floating and not np.isfinite(variable.numpy()).all():
                    raise SourceError("source_weights", f"{variable.name[:200]!r} holds NaN or infinity")

        def call(*tensors: Any) -> dict[str, Any]:
            answer = signature(**dict(zip(self.inputs, tensors, strict=True)))
            return {name: answer[name] for name in self.outputs}

        # `loaded` is still here: a function holds its variables weakly
        return TensorflowModel(call, self.inputs, self.digest, logits=bool(self.labels))


def read(path: Path, *, limit: int) -> SavedModel:
    """The model in a folder whose files have at most `limit` bytes together. Raises SourceError, MissingExtra."""
    with quiet(), needs("compress"):
        from toolkit.compress.sources.papers import read_papers
        from toolkit.compress.sources.saved_model_signature import signature_of
    folder = Folder(path)
    program = folder.read(PROGRAM, limit)
    check_saved(program)
    if (path / "assets").is_dir() and folder.names("assets"):
        raise SourceError("source_code", "the SavedModel has assets that are read when it is loaded")
    weights = [f"variables/{name}" for name in folder.names("variables")] if (path / "variables").is_dir() else []
    odd = [name for name in weights if not _WEIGHTS.fullmatch(name.partition("/")[2])]
    if odd or not weights:
        raise SourceError("source_weights", f"the folder `variables` is missing, empty or holds other files: {odd[:3]}")
    size = len(program) + sum(folder.hash(name, limit).path.stat().st_size for name in weights)
    if size > limit:
        raise SourceError("source_too_large", f"the model has {size} bytes, at most {limit}")
    found = signature_of(program)
    image = stated_image(folder, found.inputs)
    files = tuple(folder.used[name] for name in (PROGRAM, *weights))
    hashes = [(one.name, one.sha256) for one in (*files, *filter(None, (folder.used.get(PREPROCESSOR),)))]
    papers = read_papers(folder)
    labels = tuple(f"LABEL_{number}" for number in range(found.classes)) if image is not None else ()
    return SavedModel(
        name=name_of(path.resolve().name),
        digest=hashlib.sha256(msgspec.json.encode(hashes)).hexdigest(),
        licences=papers.statements,
        licence_text=papers.licence,
        notice=papers.notice,
        image=image,
        labels=labels,
        measure="agreement" if labels else "divergence" if found.classes else "correlation",
        parameters=found.parameters,
        convolves=found.convolves,
        inputs=found.inputs,
        files=files,
        outputs=found.outputs,
    )
