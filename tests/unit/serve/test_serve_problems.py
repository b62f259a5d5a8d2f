"""The one table from faults to statuses, and the documents made with it."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator

import pytest

from compliance.issuer.errors import JwksError, JwtError
from compliance.journal.errors import JournalError
from compliance.state.api_keys import ApiKeyError
from policies.errors import Denied, Failed, Fault
from policies.facts import Finding
from policies.payload import InputError
from serve.admission import Busy
from serve.caller import ScopeError
from serve.problems import STATUSES, RequestError, document, status_of
from toolkit.generating import GenerationStopped
from toolkit.models import Unserved
from toolkit.runtime.sampling import GenerationError

# what cannot happen to a request unless we did something wrong, or the box is not as it was at the start
OUR_FAULT = {
    "BackupError",
    "BomError",
    "BudgetError",
    "BundleError",
    "BundleMissing",
    "ComparisonError",
    "CompressionError",
    "ConsentError",
    "ControlError",
    "DeclarationError",
    "DutyError",
    "EvidenceError",
    "Failed",
    "GrantError",
    "HoldError",
    "ItemsError",
    "LicenceError",
    "MissingExtra",
    "ModelError",
    "NotVerified",
    "OutputRefused",
    "OverrideError",
    "ParentError",
    "PolicyError",
    "RecipeError",
    "ReportError",
    "FontMissing",
    "ReportExists",
    "SealedError",
    "SettingsError",
    "SourceError",
    "SourceMissing",
    "TimestampError",
    "TlsError",
    "TracesError",
    "TrainingError",
    "TrainingHalted",
    "Unauthentic",
    "Ungated",
    "WitnessMissing",
}


def families() -> Iterator[type[Fault]]:
    """Every family of the packages that have codes."""
    for package in ("policies", "compliance", "toolkit", "serve"):
        root = importlib.import_module(package)
        for module in pkgutil.walk_packages(root.__path__, f"{package}."):
            importlib.import_module(module.name)
    return below(Fault)


def below(family: type[Fault]) -> Iterator[type[Fault]]:
    for child in family.__subclasses__():
        if child.__module__.partition(".")[0] in ("policies", "compliance", "toolkit", "serve"):
            if "hints" in vars(child):
                yield child
            yield from below(child)


def test_every_family_was_thought_of() -> None:
    named = {family.__name__ for family in STATUSES if isinstance(family, type)} - {"Fault"}
    assert {family.__name__ for family in families()} == named | OUR_FAULT
    assert named.isdisjoint(OUR_FAULT)


def test_every_code_in_the_table_is_one_that_exists() -> None:
    known = {code for family in families() for code in family.hints}
    assert {code for code in STATUSES if isinstance(code, str)} <= known


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (RequestError("request_malformed", "m"), 400),
        (RequestError("request_type", "m"), 400),
        (RequestError("request_header", "m"), 400),
        (RequestError("request_context", "m"), 400),
        (InputError("input_empty", "m"), 400),
        (InputError("input_number", "m"), 400),
        (GenerationError("generation_context", "m"), 400),
        (GenerationError("generation_sampling", "m"), 400),
        (ApiKeyError("api_key_missing", "m"), 401),
        (ApiKeyError("api_key_revoked", "m"), 401),
        (ApiKeyError("api_key_bound", "m"), 401),
        (JwtError("jwt_expired", "m"), 401),
        (ScopeError("scope_model", "m"), 403),
        (ScopeError("scope_admin", "m"), 403),
        (Denied((), "call", "refused"), 403),
        (RequestError("route_unknown", "m"), 404),
        (Unserved("model_unknown", "m"), 404),
        (Unserved("model_refused", "m"), 503),
        (RequestError("method_unknown", "m"), 405),
        (RequestError("request_incomplete", "m"), 408),
        (RequestError("request_too_large", "m"), 413),
        (InputError("input_too_large", "m"), 413),
        (Busy("rate_exceeded", "m", 1), 429),
        (Busy("concurrency_exceeded", "m", 1), 429),
        (RequestError("request_head", "m"), 431),
        (Failed("internal", "m"), 500),
        (Failed("disk", "m"), 500),
        (Busy("queue_full", "m", 1), 503),
        (Busy("tokens_exceeded", "m", 1), 429),
        (Busy("tokens_full", "m", 1), 503),
        (GenerationStopped("generation_stopped", "m"), 503),
        (GenerationError("generation_memory", "m"), 503),
        (Busy("callers_exceeded", "m", 1), 503),
        (JwksError("jwks_malformed", "m"), 503),
        (JournalError("journal_write", "m"), 503),
    ],
)
def test_the_status_of(fault: Fault, status: int) -> None:
    assert status_of(fault) == status


PATHS = ["/", "/receipts", "/v1/embeddings", "/v2", "/v2/models/m/infer", "/v20", "/v1"]
SENTENCE = f"refused: Not fine. {Denied.hints['denied']}"
OPENAI = {"message": SENTENCE, "type": "permission_error", "param": None, "code": "denied"}


@pytest.mark.parametrize(
    ("path", "error"), [*zip(PATHS, [None, None, OPENAI, SENTENCE, SENTENCE, None, None], strict=True)]
)
def test_a_refusal_by_the_gate_carries_its_findings_and_the_error_of_its_protocol(path: str, error: object) -> None:
    findings = (Finding(rule="a.b", ok=True, reason="Fine."), Finding(rule="c.d", ok=False, reason="Not fine."))
    problem = json.loads(document(Denied(findings, "call", "refused: Not fine."), path))

    assert problem.pop("error", None) == error
    assert problem == {
        "type": "about:blank",
        "title": "Forbidden",
        "status": 403,
        "detail": "refused: Not fine.",
        "code": "denied",
        "hint": Denied.hints["denied"],
        "findings": [
            {"rule": "a.b", "ok": True, "reason": "Fine."},
            {"rule": "c.d", "ok": False, "reason": "Not fine."},
        ],
    }


@pytest.mark.parametrize("path", PATHS)
def test_a_failure_of_ours_says_its_code_and_nothing_of_this_machine(path: str) -> None:
    text = document(JournalError("journal_write", "/srv/box/journal: disk full"), path).decode()

    assert json.loads(text)["code"] == "journal_write"
    assert "/srv" not in text


@pytest.mark.parametrize(
    ("fault", "kind", "param"),
    [
        (ApiKeyError("api_key_unknown", "m"), "authentication_error", None),
        (Unserved("model_unknown", "m"), "invalid_request_error", "model"),
        (InputError("input_empty", "m"), "invalid_request_error", "input"),
        (Busy("rate_exceeded", "m", 1), "rate_limit_error", None),
        (Busy("queue_full", "m", 1), "server_error", None),
        (Failed("internal", "m"), "server_error", None),
    ],
)
def test_the_error_member_of_openai(fault: Fault, kind: str, param: str | None) -> None:
    error = json.loads(document(fault, "/v1/models"))["error"]
    assert (error["type"], error["param"], error["code"]) == (kind, param, fault.code)
    assert error.keys() == {"message", "type", "param", "code"}
