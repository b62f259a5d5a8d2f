"""What is held against the weights in a Keras file before Keras sees them: plain arrays of numbers in one HDF5 file.

An HDF5 file may link to any other file of the host, keep arrays in them, or ask for filters that are libraries.
"""

from __future__ import annotations

from io import BytesIO
from math import prod
from typing import Any

from toolkit.compress.errors import SourceError
from toolkit.extras import needs

__all__ = ["MAX_WEIGHTS", "check_weights"]

MAX_WEIGHTS = 1_900_000_000  # bytes: an ONNX file holds 2 GB
MAX_OBJECTS = 100_000


def check_weights(data: bytes) -> int:
    """How many numbers the arrays of model.weights.h5 hold, looked at without reading one of them.

    Raises SourceError: source_malformed, source_external, source_too_large, source_pickle; MissingExtra.
    """
    with needs("tensorflow"):
        import h5py
    try:
        with h5py.File(BytesIO(data), "r") as file:
            return _counted(file, h5py)
    except (AttributeError, KeyError, OSError, RecursionError, RuntimeError, TypeError, ValueError) as error:
        raise SourceError("source_malformed", f"the weights are no HDF5 of Keras: {str(error)[:200]!r}") from None


def _counted(file: Any, h5py: Any) -> int:
    """How many numbers all arrays hold, looked at without reading one of them."""
    numbers, seen, waiting = 0, 0, [file]
    visited = {h5py.h5o.get_info(file.id).addr}
    while waiting:
        group = waiting.pop()
        for name in group:
            seen += 1
            if seen > MAX_OBJECTS:
                raise SourceError("source_too_large", f"the file has more than {MAX_OBJECTS} parts")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise SourceError("source_external", f"{name[:80]!r} is a link to another place or file")
            part = group[name]
            address = h5py.h5o.get_info(part.id).addr
            if address in visited:
                raise SourceError("source_malformed", f"{name[:80]!r} stands in the file by two names")
            visited.add(address)
            if isinstance(part, h5py.Group):
                waiting.append(part)
            elif isinstance(part, h5py.Dataset):
                numbers += _array(name, part)
                if 4 * numbers > MAX_WEIGHTS:
                    raise SourceError("source_too_large", f"the arrays hold more than {numbers} numbers")
            else:
                raise SourceError("source_malformed", f"{name[:80]!r} is neither a group nor an array")
    return numbers


def _array(name: str, part: Any) -> int:
    if part.external or part.is_virtual:
        raise SourceError("source_external", f"{name[:80]!r} lies in another file")
    if part.dtype.kind not in "fiub":
        raise SourceError("source_pickle", f"{name[:80]!r} holds {part.dtype}, which are no numbers")
    # chunks are what filters work on, and filters may be libraries that HDF5 looks for
    if part.chunks is not None or part.shape is None:
        raise SourceError("source_unsupported", f"{name[:80]!r} is packed: Keras saves arrays as they are")
    return prod(part.shape)
