"""Whatever fits the OpenAPI document, or nearly does, a real server with a model of each kind answers as it says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import load_all_checks, CHECKS

from serve.openapi.document import document
from tests import kinds
from tests.e2e.served import Served
from toolkit.box import Box, create_box
from toolkit.plan import planned


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("openapi")
    create_box(folder / "box")
    with (folder / "box" / "sealpress.toml").open("a") as text:
        text.write("\n[serve]\nrate_per_s = 100000\nburst = 100000\n")
    box = Box(folder / "box" / "sealpress.toml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolkit.plan.RUN_S", 0.01)
        for draft in (kinds.EMBEDDER, kinds.CLASSIFIER, kinds.PICTURES, kinds.NUMBERS):
            planned(kinds.write(box.folder, draft, box.bundle_signer()), box, len(os.sched_getaffinity(0)))
    box.journal.close()
    with Served(box.folder) as server:
        yield server
        assert server.end() == 0


@pytest.fixture(scope="module")
def key(server: Served) -> dict[str, Any]:
    return server.key("--purpose", "search")


schema = schemathesis.openapi.from_dict(document())
load_all_checks()
print(CHECKS.get_all_names())
NOT = [CHECKS.get_one(name) for name in ("not_a_server_error", "positive_data_acceptance")]
from collections import Counter
seen = Counter()

@schema.parametrize()
@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
def test_it(case: Any, server: Served, key: dict[str, Any]) -> None:
    response = case.call(base_url=server.url, headers={"Authorization": f"Bearer {key['key']}"})
    seen[case.method, case.path, response.status_code] += 1
    case.validate_response(response, excluded_checks=NOT)

def test_end():
    for k,v in sorted(seen.items()): print(k,v)
