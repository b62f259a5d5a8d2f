"""Whatever texts a bundle holds, its bills of materials are valid, in ASCII, and give the texts back."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from tests.unit.toolkit.bom.bundles import golden
from toolkit.bom.contents import Said
from toolkit.bom.cyclonedx import cyclonedx
from toolkit.bom.spdx import spdx

BUNDLE = golden("golden-v1")
TEXTS = st.text(max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=12, deadline=None)
@given(name=TEXTS, task=TEXTS, licence=TEXTS, ancestor=TEXTS, step=st.dictionaries(TEXTS, JSON, max_size=3))
def test_texts_come_back(name: str, task: str, licence: str, ancestor: str, step: dict[str, object]) -> None:
    lineage = (structs.replace(BUNDLE.manifest.lineage[0], name=ancestor, licence=licence),)
    manifest = structs.replace(
        BUNDLE.manifest, name=name, task=task, licence=licence, lineage=lineage, recipe=(step,), versions={name: task}
    )
    bundle = structs.replace(BUNDLE, manifest=manifest)

    document = json.loads(cyclonedx(bundle, Said()).decode("ascii"))
    model = document["metadata"]["component"]
    assert (model["name"], model["modelCard"]["modelParameters"]["task"]) == (name, task)
    assert model["pedigree"]["ancestors"][0]["name"] == ancestor

    graph = json.loads(spdx(bundle, Said()).decode("ascii"))["@graph"]
    (told,) = [one for one in graph if one["type"] == "ai_AIPackage"]
    assert told["name"] == name
    assert [one["name"] for one in graph if one["type"] == "software_Package"] == [ancestor]
