"""A source with its data under the rules of a box: what everything that is done with a model begins with."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date, timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import UNSET, Struct, UnsetType

from policies import licences
from policies.errors import Denied
from policies.facts import Action, Manifest, Stated
from policies.gate import Grant, gate
from policies.licences import UNKNOWN, Forebear, LicenceError
from policies.payload import Payload
from toolkit.box import DAY, Box, Context
from toolkit.compress.ancestry import Ancestry, Texts, forebear
from toolkit.compress.data import NONE, Data, Items, Kind, gathered, read_items
from toolkit.compress.engine import Press
from toolkit.compress.errors import ItemsError
from toolkit.compress.intake import module_inputs
from toolkit.compress.origin import module_origin, origin
from toolkit.compress.source import Source
from toolkit.runtime.inputs import ImageInput
from toolkit.train.place import Place

if TYPE_CHECKING:
    import torch

__all__ = ["SEED", "Given", "Task"]

EXAMPLES = 64  # items to measure on, where none are given
SEED = 0  # of inputs that are made up
LAST_DAY = (2**63 - 1) // DAY  # since 1970, that nanoseconds of 64 bits can name
STATED_DAYS = 365  # that a stated licence counts for, unless something else is said

Given = str | os.PathLike[str] | Iterable[Any]
T = TypeVar("T")


class Task(Struct, frozen=True, kw_only=True):
    """`licence` is the SPDX expression of what comes of it: those of the source and of all that it was made from, and
    of the data that steps learn from. `lineage` holds these, `texts` the papers of each; `stated` is there where papers
    name no licence and somebody did; `progress` hears what is being done. Where the model is trained, `training` says
    under which purpose and basis."""

    box: Box
    source: Source
    licence: str
    lineage: tuple[Forebear, ...]
    texts: tuple[Texts, ...]
    stated: Stated | UnsetType
    data: Data
    progress: Callable[[str], None]
    training: Context | None = None

    @classmethod
    def of(
        cls,
        source: str | os.PathLike[str] | torch.nn.Module,
        *,
        box: Box,
        calibrate: Given | None,
        evaluate: Given | None,
        licence: str | None,
        data_licence: str | None,
        parents: Sequence[str],
        licence_until: date | None = None,
        progress: Callable[[str], None],
        example: object = None,
        image: ImageInput | None = None,
        labels: Sequence[str] = (),
        memory: int | None = None,
        training: Context | None = None,
    ) -> Task:
        """Look at everything, load nothing. `memory` is how many bytes the run may take.

        An ancestor, or data, whose licence nobody stated is taken in as unknown, which the policy refuses (`gated`).
        Raises SourceMissing, SourceError, LicenceError, ParentError, ItemsError, InputError.
        """
        progress("read the source and its papers")
        if isinstance(source, str | os.PathLike):
            came = origin(source, licence=licence, parents=parents, memory=memory)
        else:
            came = module_origin(source, example, image, labels, licence=licence, parents=parents)
        found, ancestry = came.source, came.ancestry
        data = Data(
            calibrate=NONE if calibrate is None else _items(source, found, calibrate),
            evaluate=found.examples(EXAMPLES, SEED) if evaluate is None else _items(source, found, evaluate),
        )
        if calibrate is not None:
            name = Path(calibrate).name if isinstance(calibrate, str | os.PathLike) else "items"
            spdx = UNKNOWN if data_licence is None else licences.spdx(data_licence)
            learned = forebear(
                name, data.calibrate.digest, spdx, "calibration" if training is None else "training", Texts()
            )
            ancestry = ancestry.and_then(Ancestry(lineage=(learned,), texts=(Texts(),)))
        elif data_licence is not None:
            raise ItemsError("data_missing", "a licence was stated for data to calibrate on, and none was given")
        # an ancestor whose papers nobody gave has no digest; where papers say what a person says, they are what counts
        said = {one.licence for one in ancestry.lineage if not one.digest and one.licence != UNKNOWN}
        if licence is not None and not found.licences:
            said.add(licences.spdx(licence))
        return cls(
            box=box,
            source=found,
            licence=licences.licence_of(ancestry.lineage),
            lineage=ancestry.lineage,
            texts=ancestry.texts,
            stated=_stated(said, licence_until, box.journal.now()) if said else UNSET,
            data=data,
            progress=progress,
            training=training,
        )

    @property
    def stated_until(self) -> date | None:
        """The first day on which what somebody stated of licences counts no more; None where nobody had to."""
        return None if self.stated is UNSET else date(1970, 1, 1) + timedelta(days=self.stated.ends // DAY)

    def gated(
        self,
        asked: dict[str, Any],
        work: Callable[[Press], T],
        place: Place = Place(),  # noqa: B008 - it is frozen
    ) -> T:
        """Do some work on the model, as the action "compress" or "train", on record. `asked` says what for; steps train
        at the `place`.

        Raises Denied, JournalError, and what Press and the work raise; LicenceError: licence_ancestor, licence_data in
        place of the refusal of something unknown, which is on record, since it says what is to be stated.
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
            item
            for items in (self.data.calibrate, self.data.evaluate)
            for item in (*items.items, *items.answers, *chain.from_iterable(items.choices))
            if isinstance(item, str)
        ]

        def under(grant: Grant) -> T:
            # also where no pack in force asks for a licence
            licences.must_be_known(self.lineage)
            return work(Press(found, grant, self.box.policy.digest, self.data, self.progress, place))

        action: Action = "compress" if self.training is None else "train"
        call = self.box.call(action, found.digest, self.training or Context())
        payload = Payload.checked({**asked, "texts": read})
        try:
            return gate(self.box.policy, parent, call, payload, self.box.journal, under)
        except Denied:
            licences.must_be_known(self.lineage)
            raise


def _stated(said: Collection[str], until: date | None, at: int) -> Stated:
    """That somebody stated these licences at the time `at` (ns): that counts from the beginning of that day, for a year
    where nothing else is said, and no longer than a record can name. Raises LicenceError."""
    day = at // DAY
    ends = day + STATED_DAYS if until is None else min((until - date(1970, 1, 1)).days, LAST_DAY)
    if ends <= day:
        raise LicenceError("licence_expired", f"the statement would be over on {until}, before it begins")
    return Stated(licence=licences.together(sorted(said)), starts=day * DAY, ends=ends * DAY)


def _items(source: str | os.PathLike[str] | torch.nn.Module, found: Source, given: Given) -> Items:
    kind: Kind = "text" if found.text is not None else "tensors" if found.image is None else "image"
    if isinstance(given, str | os.PathLike):
        return read_items(Path(given), kind)
    if kind == "tensors" and not isinstance(source, str | os.PathLike):
        given = [module_inputs(source, item) for item in given]
    return gathered(given, kind)
