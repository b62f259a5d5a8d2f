"""A statement of a trusted signer stands for the solver: for one policy and its claims, and for nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from compliance.crypto import Signer
from compliance.keys import to_text
from policies.cedar import PolicyError
from policies.errors import Fault
from toolkit.new_box import create_box
from toolkit.policy import Policy
from toolkit.proof import must_be_proved, signed
from toolkit.settings import read_settings

CLAIM = '[[claim]]\nname = "never more than nine calls"\nnever = "context.usage > 9"\n'


@pytest.fixture
def made(tmp_path: Path) -> Path:
    create_box(tmp_path / "box")
    return tmp_path / "box" / "sealpress.toml"


@pytest.fixture
def no_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "policies.cedar.proof", None)


def policy(made: Path) -> Policy:
    return Policy.in_force(made, read_settings(made))


@pytest.mark.usefixtures("no_solver")
def test_without_the_solver_a_statement_of_a_trusted_signer_is_enough(made: Path) -> None:
    found, signer = policy(made), Signer.generate()
    proof = made.with_name("policy.proof")
    with pytest.raises(Fault) as caught:
        must_be_proved(found, found.engine(), proof, [])
    assert caught.value.code == "extra_missing"
    proof.write_bytes(signed(found, found.engine(), signer))
    must_be_proved(found, found.engine(), proof, [to_text(signer.public)])
    for trusted in ([], [to_text(Signer.generate().public)]):
        with pytest.raises(Fault):
            must_be_proved(found, found.engine(), proof, trusted)


@pytest.mark.usefixtures("no_solver")
@pytest.mark.parametrize("change", ["policy", "claims", "signature", "nothing there", "garbage"])
def test_a_statement_counts_for_nothing_else(made: Path, change: str) -> None:
    signer, proof = Signer.generate(), made.with_name("policy.proof")
    found = policy(made)
    data = signed(found, found.engine(), signer)
    text = made.read_text("utf-8")
    if change == "policy":
        made.write_text(text.replace("retain_days = 180", "retain_days = 181"), "utf-8")
    elif change == "claims":
        made.with_name("claims.toml").write_text(CLAIM, "utf-8")
        made.write_text(text.replace("rules = []", 'rules = []\nclaims = ["claims.toml"]'), "utf-8")
    elif change == "signature":
        data = data.replace(b'"signature":"', b'"signature":"AA')
    elif change == "nothing there":
        data = b""
    else:
        data = b"\xff" + data
    proof.write_bytes(data)
    changed = policy(made)
    with pytest.raises(Fault) as caught:
        must_be_proved(changed, changed.engine(), proof, [to_text(signer.public)])
    assert caught.value.code == "extra_missing"


def test_the_solver_has_the_word_without_a_statement(made: Path) -> None:
    pytest.importorskip("z3", reason="the extra `prove` is not installed")
    proof = made.with_name("policy.proof")
    must_be_proved(policy(made), policy(made).engine(), proof, [])
    made.with_name("claims.toml").write_text(CLAIM, "utf-8")
    text = made.read_text("utf-8")
    made.write_text(text.replace("rules = []", 'rules = []\nclaims = ["claims.toml"]'), "utf-8")
    with pytest.raises(PolicyError) as caught:
        must_be_proved(policy(made), policy(made).engine(), proof, [])
    assert caught.value.code == "policy_unproved"


def test_no_claim_proves_nothing(made: Path) -> None:
    own = made.with_name("own.cedar")
    own.write_text('@id("a.b") @reason("All is allowed here.") permit (principal, action, resource);', "utf-8")
    text = made.read_text("utf-8").replace("rules = []", 'rules = ["own.cedar"]')
    made.write_text(text.replace('packs = ["base", "gdpr", "licence"]', "packs = []"), "utf-8")
    with pytest.raises(PolicyError) as caught:
        must_be_proved(policy(made), policy(made).engine(), made.with_name("policy.proof"), [])
    assert caught.value.code == "policy_unproved"
