"""Whatever fits the OpenAPI document, or nearly does: a real server with a model of each kind answers as it says."""

from __future__ import annotations

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from copy import deepcopy
from itertools import cycle
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.parameters import ParameterLocation

from serve.openapi.document import document
from tests import kinds
from tests.conftest import Shared
from tests.decoders import decoder_box
from tests.e2e.served import Served, verified
from toolkit.box import Box
from toolkit.plan import planned

pytestmark = pytest.mark.slow
pytest_plugins = ["schemathesis.pytest.plugin"]

SETTINGS = "\n[serve]\nrate_per_s = 1000000\nburst = 1000000\n"
GENERATOR = "tiny-w8-t8"
DRAFTS = (kinds.EMBEDDER, kinds.CLASSIFIER, kinds.PICTURES, kinds.NUMBERS)
DOCUMENT: Any = deepcopy(document())  # since what is asked by its examples changes them
# those of one version are the same handlers
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT).exclude(operation_id_regex="_of_version$")

load_all_checks()
NOT_CHECKED = [
    CHECKS.get_one("not_a_server_error"),  # 503 is an answer; what else is above 500, `ask` looks at
    CHECKS.get_one("positive_data_acceptance"),  # what fits may still be for another model, or against a rule
]


@pytest.fixture(scope="module")
def server(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("openapi")
    shutil.copytree(decoder_box(shared).parent, folder, dirs_exist_ok=True)
    with (folder / "box" / "sealpress.toml").open("a") as text:
        text.write(SETTINGS)
    box = Box(folder / "box" / "sealpress.toml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolkit.plan.RUN_S", 0.01)  # how well the models run is of no matter here
        for draft in DRAFTS:
            planned(kinds.write(box.folder, draft, box.bundle_signer()), box, len(os.sched_getaffinity(0)))
    box.journal.close()
    with Served(box.folder) as server:
        yield server
        assert server.end() == 0
        assert verified(box.folder)["ok"]
        assert not [line for line in server.log if '"internal"' in line]


@pytest.fixture(scope="module")
def key(server: Served) -> dict[str, Any]:
    return server.key("--purpose", "search", "--admin")


@pytest.fixture(scope="module")
def answered(server: Served) -> Iterator[dict[str, Counter[int]]]:
    """The statuses of each operation; those that answer at all have answered in the end."""
    found: defaultdict[str, Counter[int]] = defaultdict(Counter)
    yield found
    for operation in (
        "embeddings",
        "chat",
        "completion",
        "model",
        "predict",
        "infer",
        "model_metadata",
        "index",
        "load",
        "unload",
        "receipts",
    ):
        assert found[operation][200], (operation, found[operation])


# a header that the document does not know is of no matter
WRONG = [CHECKS.get_one("negative_data_rejection")]
NAMES = cycle(draft.name for draft in DRAFTS)


def _test_of(operation: str) -> Any:
    @SCHEMA.include(operation_id=operation).parametrize()
    @settings(
        max_examples=10,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def test(
        case: schemathesis.Case[Any], server: Served, key: dict[str, Any], answered: dict[str, Counter[int]]
    ) -> None:
        _aim(case)
        response = case.call(base_url=server.url, headers={"Authorization": f"Bearer {key['key']}"})
        answered[operation][response.status_code] += 1
        assert response.status_code < 500 or response.status_code == 503, response.text
        excluded: list[Any] = [*NOT_CHECKED, *(WRONG if _headers_alone(case) else ())]
        case.validate_response(response, excluded_checks=excluded)

    return test


OPERATIONS = [
    one["operationId"] for path in DOCUMENT["paths"].values() for one in path.values() if "operationId" in one
]
# A name for each: schemathesis gives the operations of one function one id, and xdist would run one for all.
globals().update(
    {f"test_{one}_answers_as_the_document_says": _test_of(one) for one in OPERATIONS if not one.endswith("_of_version")}
)


def _aim(case: schemathesis.Case[Any]) -> None:
    """Ask for models that are there, and not for bodies that would have to be packed."""
    if case.path_parameters and "name" in case.path_parameters:
        case.path_parameters["name"] = "numbers" if case.path.endswith("load") else next(NAMES)
    if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
        case.body["model"] = GENERATOR if case.path.endswith("/completions") else "embedder"
        if case.path.endswith("/completions") and "max_completion_tokens" not in case.body:
            case.body.setdefault("max_tokens", 4)  # random weights hardly ever end by themselves
    if case.headers.get("Content-Encoding") in ("gzip", "deflate"):
        del case.headers["Content-Encoding"]


def _headers_alone(case: schemathesis.Case[Any]) -> bool:
    """Whether a case is wrong in its headers and nowhere else."""
    components = {} if case.meta is None else case.meta.components
    return {place for place, one in components.items() if one.mode.is_negative} == {ParameterLocation.HEADER}
