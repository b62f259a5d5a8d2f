"""The tree, grown leaf by leaf, against the recursive definition and the vectors of Certificate Transparency."""

from __future__ import annotations

from hashlib import sha256

import pytest

from compliance.verify.merkle import Tree, leaf_hash

# the leaves and roots that the reference implementation of RFC 6962 is tested with
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


def grown(leaves: list[bytes]) -> Tree:
    tree = Tree()
    for leaf in leaves:
        tree.append(leaf_hash(leaf))
    return tree


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_those_of_rfc_6962(size: int) -> None:
    assert grown(LEAVES[:size]).root().hex() == ROOTS[size]


def test_every_size_agrees_with_the_definition() -> None:
    leaves = [number.to_bytes(2, "big") for number in range(130)]
    tree = Tree()
    for size, leaf in enumerate(leaves):
        assert (tree.size, tree.root()) == (size, naive_root(leaves[:size]))
        tree.append(leaf_hash(leaf))


def test_a_root_changes_with_every_leaf_and_with_their_order() -> None:
    leaves = [bytes([number]) for number in range(11)]
    others = [[*leaves[:i], b"x", *leaves[i + 1 :]] for i in range(11)]
    others += [[*leaves[:i], leaves[i + 1], leaves[i], *leaves[i + 2 :]] for i in range(10)]
    others += [leaves[:i] + leaves[i + 1 :] for i in range(11)] + [[*leaves[: i + 1], *leaves[i:]] for i in range(11)]
    assert len({grown(other).root() for other in [leaves, *others]}) == 1 + len(others)


def test_a_node_is_never_taken_for_a_leaf() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert grown([left + right]).root() != grown([b"a", b"b"]).root()


def test_a_tree_holds_one_hash_for_each_bit_of_its_size() -> None:
    tree = Tree()
    for _ in range(2**14 - 1):
        tree.append(bytes(32))
    assert len(tree._peaks) == 14
