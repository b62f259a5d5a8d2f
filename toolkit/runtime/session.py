"""The only place that makes an ONNX Runtime session. A session runs under a Grant and in no other way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from policies.errors import Refused
from policies.facts import Tensor
from policies.gate import Grant, redeem
from policies.payload import Payload
from toolkit.runtime.alike import FAR, ROOM, beside, in_runs
from toolkit.runtime.batching import Batching, memory
from toolkit.runtime.cache import Alone, Cache
from toolkit.runtime.lookup import RUN
from toolkit.runtime.rows import Row
from toolkit.runtime.slots import PAST, Slots
from toolkit.runtime.wire import holds_external_data

__all__ = ["Feeds", "ModelError", "Session"]

_DECODER = {"input_ids", "attention_mask", "num_logits_to_keep"}

Feeds = Mapping[str, NDArray[Any]]
T = TypeVar("T")


class ModelError(Refused):
    """A model file that the runtime does not take, or that is fed what it does not take."""

    hints: ClassVar[Mapping[str, str]] = {
        "model_external_data": "Save the model as one file: a tensor that lies in another file is never loaded.",
        "model_malformed": "Make the model file again, or press it again from its source.",
        "model_task": "Call the model for what it is made for: `sealpress show` names its task.",
        "model_inputs": "Look at the inputs with `sealpress show`: the model takes other names or types.",
    }


class Session:
    """One ONNX model in memory on `threads` threads. `digest` is what a grant must cover."""

    def __init__(self, model: bytes, digest: str, *, threads: int = 1, profile: Path | None = None) -> None:
        """Raises ModelError. `model` is the file's bytes, those that were hashed; `profile` a folder where the runtime
        writes which kernels ran and how long."""
        try:
            external = holds_external_data(model)
        except ValueError as error:
            raise ModelError("model_malformed", f"the file is no ONNX model ({error})") from None
        if external:
            raise ModelError("model_external_data", "a tensor of the model lies in another file")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile / "profile")
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - the runtime raises a family of its own without a common root
            raise ModelError("model_malformed", f"the runtime does not take it ({type(error).__name__})") from None
        self.digest = digest
        self.inputs = tuple(_tensor(node) for node in self._session.get_inputs())
        self.outputs = tuple(_tensor(node) for node in self._session.get_outputs())
        self._expected = {tensor.name: tensor for tensor in self.inputs}
        self._batching: Batching | None = None

    def run(self, grant: Grant, in_force: str, feeds: Callable[[Payload], Iterable[Feeds]]) -> list[list[NDArray[Any]]]:
        """Redeem the grant, make the batches from its payload, and run them one after the other.

        Returns the outputs of each batch in the order of `outputs`. Raises Ungated, ModelError.
        """
        payload = redeem(grant, self.digest, in_force)
        return [self._outputs(self._checked(batch)) for batch in feeds(payload)]

    def run_together(
        self, grants: Sequence[Grant], in_force: str, feeds: Callable[[Sequence[Payload]], Iterable[Feeds]]
    ) -> Iterator[list[NDArray[Any]] | ModelError]:
        """The same for several calls, whose items may share batches: the outputs of each batch, as it is run, or why it
        could not be, which is no reason for the others not to run. Raises Ungated."""
        for batch in feeds([redeem(grant, self.digest, in_force) for grant in grants]):
            try:
                yield self._outputs(self._checked(batch))
            except ModelError as error:
                yield error

    def generating(
        self, grant: Grant, in_force: str, spent: Callable[[float], None] = lambda _: None
    ) -> tuple[Payload, Callable[[int], Cache]]:
        """Redeem the grant for one answer of a decoder: its payload, and what makes a cache with room for so many
        tokens, by which the model is run step after step. `spent` is told of the processor's time, in seconds, that
        steps take in another thread than the one that asks.

        Raises Ungated, ModelError "model_task" for a model that has no cache; the cache GenerationError
        "generation_memory".
        """
        vocabulary = self._vocabulary()
        tenant, payload = grant.call.tenant, redeem(grant, self.digest, in_force)
        batching = self._batching
        if batching is not None:
            return payload, lambda room: Cache(Row(batching, tenant, room, spent))
        return payload, lambda room: Cache(Alone(Slots(self._session, self.inputs, vocabulary, 1, room)))

    def together(self, rows: int, least: int) -> None:
        """From now on make answers together, up to `rows` in a run and `least` of them (see `alike`). Raises
        ModelError."""
        self._batching = Batching(self._session, self.inputs, self._vocabulary(), rows=rows, least=least, most=memory())

    def alike(self, grant: Grant, in_force: str, rows: int) -> int | None:
        """How many rows a run of a decoder must have for an answer to be the same to the last bit whoever is beside it,
        up to `rows` (see toolkit.runtime.alike). Raises Ungated, ModelError."""
        vocabulary = self._vocabulary()
        redeem(grant, self.digest, in_force)
        return _tried(lambda: beside(Slots(self._session, self.inputs, vocabulary, rows, ROOM), vocabulary))

    def alike_in_runs(self, grant: Grant, in_force: str, context: int) -> bool:
        """Whether tokens of a decoder have the same logits to the last bit in runs of two and more, so that an answer
        is the same whether or not some are tried ahead (see toolkit.runtime.alike). Raises Ungated, ModelError."""
        vocabulary = self._vocabulary()
        redeem(grant, self.digest, in_force)
        room = min(context, FAR + RUN)
        return _tried(lambda: in_runs(Cache(Alone(Slots(self._session, self.inputs, vocabulary, 1, room))), vocabulary))

    def _vocabulary(self) -> int:
        sizes = [tensor.shape[-1] for tensor in self.outputs if tensor.name == "logits"]
        known = {name for name in self._expected if not name.startswith(PAST)} == _DECODER
        if not known or not sizes or not isinstance(sizes[0], int):
            raise ModelError("model_task", "the model does not generate")
        return sizes[0]

    def profiled(self) -> bytes:
        """The profile so far, as the JSON of a trace, of a session that was made to write one."""
        return Path(self._session.end_profiling()).read_bytes()

    def _outputs(self, batch: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        try:
            outputs: list[NDArray[Any]] = self._session.run(None, batch)
        except Exception as error:  # noqa: BLE001 - the runtime raises a family of its own without a common root
            raise ModelError("model_inputs", f"it does not run on what it is given: {str(error)[:300]!r}") from None
        return outputs

    def _checked(self, batch: Feeds) -> dict[str, NDArray[Any]]:
        if batch.keys() != self._expected.keys():
            # who holds decoders against each other gives each the caches of all layers; one may have fewer
            batch = {name: one for name, one in batch.items() if name in self._expected or not name.startswith(PAST)}
        if batch.keys() != self._expected.keys():
            raise ModelError("model_inputs", f"takes {sorted(self._expected)}, was given {sorted(batch)}")
        for name, array in batch.items():
            tensor = self._expected[name]
            # to be asked for its name takes a dtype microseconds, to be compared with one a fifth of one
            if array.dtype != tensor.dtype or array.ndim != len(tensor.shape):
                raise ModelError("model_inputs", f"{name} is {array.dtype} with {array.ndim} dimensions")
        return {name: np.ascontiguousarray(array) for name, array in batch.items()}


def _tried(work: Callable[[], T]) -> T:
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - the runtime raises a family of its own without a common root
        raise ModelError("model_inputs", f"it does not run on what it is given: {str(error)[:300]!r}") from None


_DTYPES = {"float": "float32", "double": "float64", "float16": "float16", "string": "object"}


def _tensor(node: Any) -> Tensor:
    element = node.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(dim if isinstance(dim, int) else str(dim) for dim in node.shape)
    return Tensor(name=node.name, dtype=_DTYPES.get(element, element), shape=shape)
