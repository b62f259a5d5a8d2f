"""A source with its data under the rules of a box: what everything that is done with a model begins with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import UNSET, Struct, UnsetType

from policies import licences
from policies.facts import Ancestor, Manifest, Stated
from policies.gate import Grant, gate
from policies.licences import LicenceError
from policies.payload import Payload
from toolkit.box import DAY, Box, Context
from toolkit.compress.data import NONE, Data, Items, Kind, gathered, read_items
from toolkit.compress.engine import Press
from toolkit.compress.errors import ItemsError
from toolkit.compress.intake import module_inputs, module_taken_in, taken_in
from toolkit.compress.source import Source
from toolkit.runtime.inputs import ImageInput

if TYPE_CHECKING:
    import torch

__all__ = ["SEED", "Given", "Task"]

EXAMPLES = 64  # items to measure on, where none are given
SEED = 0  # of inputs that are made up
STATED_DAYS = 365  # that a stated licence counts for, unless something else is said

Given = str | os.PathLike[str] | Iterable[Any]
T = TypeVar("T")


class Task(Struct, frozen=True, kw_only=True):
    """`licence` is the SPDX expression of what comes of it: what the papers of the source agree on, together with the
    licence of the data that steps learn from, where one was stated. `lineage` holds these; `stated` is
    there where the papers name no licence and somebody did; `progress` hears what is being done."""

    box: Box
    source: Source
    licence: str
    lineage: tuple[Ancestor, ...]
    stated: Stated | UnsetType
    data: Data
    progress: Callable[[str], None]

    @classmethod
    def of(
        cls,
        source: str | os.PathLike[str] | torch.nn.Module,
        *,
        box: Box,
        calibrate: Given | None,
        evaluate: Given | None,
        licence: str | None,
        data_licence: str | None = None,
        licence_until: date | None = None,
        progress: Callable[[str], None],
        example: object = None,
        image: ImageInput | None = None,
        labels: Sequence[str] = (),
        memory: int | None = None,
    ) -> Task:
        """Look at everything, load nothing. `memory` is how many bytes the run may take.

        Raises SourceMissing, SourceError, LicenceError, ItemsError, InputError.
        """
        progress("read the source and its papers")
        if isinstance(source, str | os.PathLike):
            found = taken_in(source, memory)
        else:
            found = module_taken_in(source, example, image, labels)
        own = licences.agreed(licence, found.licences)
        # where the papers say the same, they are what counts
        stated_here = UNSET if licence is None or found.licences else _stated(own, licence_until, box.journal.now())
        lineage = [Ancestor(name=found.name, digest=found.digest, licence=own, relation="parent")]
        data = Data(
            calibrate=NONE if calibrate is None else _items(source, found, calibrate),
            evaluate=found.examples(EXAMPLES, SEED) if evaluate is None else _items(source, found, evaluate),
        )
        if data_licence is not None:
            if calibrate is None:
                raise ItemsError("data_missing", "a licence was stated for data to calibrate on, and none was given")
            stated = licences.spdx(data_licence)
            name = Path(calibrate).name if isinstance(calibrate, str | os.PathLike) else "items"
            lineage.append(Ancestor(name=name, digest=data.calibrate.digest, licence=stated, relation="calibration"))
        return cls(
            box=box,
            source=found,
            licence=licences.together([one.licence for one in lineage]),
            lineage=tuple(lineage),
            stated=stated_here,
            data=data,
            progress=progress,
        )

    def gated(self, asked: dict[str, Any], work: Callable[[Press], T]) -> T:
        """Do some work on the model, as the action "compress", on record. `asked` says what for.

        Raises Denied, JournalError, and what Press and the work raise.
        """
        found = self.source
        parent = Manifest(
            format=1,
            name=found.name,
            version="",
            digest=found.digest,
            task=found.task,
            licence=self.licence,
            inputs=(),
            outputs=(),
        )
        read = [
            item for items in (self.data.calibrate, self.data.evaluate) for item in items.items if isinstance(item, str)
        ]

        def under(grant: Grant) -> T:
            return work(Press(found, grant, self.box.policy.digest, self.data, self.progress))

        call = self.box.call("compress", found.digest, Context())
        return gate(self.box.policy, parent, call, Payload.checked({**asked, "texts": read}), self.box.journal, under)


def _stated(licence: str, until: date | None, at: int) -> Stated:
    """That somebody stated this licence at the time `at` (ns): it counts from the beginning of that day, for a year
    where nothing else is said. Raises LicenceError."""
    day = at // DAY
    ends = day + STATED_DAYS if until is None else (until - date(1970, 1, 1)).days
    if ends <= day:
        raise LicenceError("licence_expired", f"the statement would be over on {until}, before it begins")
    return Stated(licence=licence, starts=day * DAY, ends=ends * DAY)


def _items(source: str | os.PathLike[str] | torch.nn.Module, found: Source, given: Given) -> Items:
    kind: Kind = "text" if found.text is not None else "tensors" if found.image is None else "image"
    if isinstance(given, str | os.PathLike):
        return read_items(Path(given), kind)
    if kind == "tensors" and not isinstance(source, str | os.PathLike):
        given = [module_inputs(source, item) for item in given]
    return gathered(given, kind)
