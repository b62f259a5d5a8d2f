"""The tree and its proofs, against the recursive definition and the vectors of Certificate Transparency."""

from __future__ import annotations

from hashlib import sha256

import pytest

from compliance.crypto import Unauthentic
from compliance.verify.merkle import (
    Tree,
    check_consistency,
    check_inclusion,
    consistency_path,
    inclusion_path,
    leaf_hash,
    position,
    root_of,
    stored,
)

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
# leaf, size and path, and two sizes and path, from the same tests
INCLUSION = [
    (0, 1, []),
    (
        0,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
]
CONSISTENCY = [
    (1, 1, []),
    (
        1,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
]
MOST = 41
BODIES = [number.to_bytes(2, "big") for number in range(MOST)]


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


def grown(leaves: list[bytes]) -> tuple[Tree, list[bytes]]:
    """The tree, and its nodes as they are stored."""
    tree = Tree()
    return tree, [node for leaf in leaves for node in tree.append(leaf_hash(leaf))]


NODES = grown(BODIES)[1]
LEAF_HASHES = list(map(leaf_hash, BODIES))
NAIVE = [naive_root(BODIES[:size]) for size in range(MOST + 1)]


def node(level: int, index: int) -> bytes:
    return NODES[position(level, index)]


def refused_inclusion(leaf: bytes, index: int, size: int, path: list[bytes], root: bytes) -> None:
    with pytest.raises(Unauthentic) as refusal:
        check_inclusion(leaf, index, size, path, root)
    assert refusal.value.code == "proof"


def refused_consistency(old: int, old_root: bytes, size: int, root: bytes, path: list[bytes]) -> None:
    with pytest.raises(Unauthentic) as refusal:
        check_consistency(old, old_root, size, root, path)
    assert refusal.value.code == "proof"


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_those_of_rfc_6962(size: int) -> None:
    assert grown(LEAVES[:size])[0].root().hex() == root_of(LEAVES[:size]).hex() == ROOTS[size]


@pytest.mark.parametrize(("leaf", "size", "path"), INCLUSION)
def test_inclusion_is_proved_as_in_the_reference_implementation(leaf: int, size: int, path: list[str]) -> None:
    nodes = grown(LEAVES)[1]
    found = inclusion_path(leaf, size, lambda level, index: nodes[position(level, index)])
    assert [node.hex() for node in found] == path
    check_inclusion(leaf_hash(LEAVES[leaf]), leaf, size, found, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("old", "size", "path"), CONSISTENCY)
def test_consistency_is_proved_as_in_the_reference_implementation(old: int, size: int, path: list[str]) -> None:
    nodes = grown(LEAVES)[1]
    found = consistency_path(old, size, lambda level, index: nodes[position(level, index)])
    assert [node.hex() for node in found] == path
    check_consistency(old, bytes.fromhex(ROOTS[old]), size, bytes.fromhex(ROOTS[size]), found)


def test_every_size_agrees_with_the_definition() -> None:
    leaves = [number.to_bytes(2, "big") for number in range(130)]
    tree = Tree()
    for size, leaf in enumerate(leaves):
        assert (tree.size, tree.root()) == (size, naive_root(leaves[:size]))
        tree.append(leaf_hash(leaf))


def test_the_stored_nodes_stand_where_they_are_looked_for() -> None:
    for size in range(MOST + 1):
        assert stored(size) == len(grown(BODIES[:size])[1])
        assert Tree.from_nodes(size, node).root() == NAIVE[size]
    for level in range(6):
        for index in range(MOST >> level):
            assert node(level, index) == naive_root(BODIES[index << level : (index + 1) << level])


def test_every_inclusion_is_proved_and_nothing_else() -> None:
    for size in range(1, MOST + 1):
        for index in range(size):
            path = inclusion_path(index, size, node)
            check_inclusion(LEAF_HASHES[index], index, size, path, NAIVE[size])
            refused_inclusion(bytes(32), index, size, path, NAIVE[size])
            refused_inclusion(LEAF_HASHES[index], index, size, path, NAIVE[size - 1])
            for other in (-1, index + 1, size):
                refused_inclusion(LEAF_HASHES[index], other, size, path, NAIVE[size])
            for wrong in tampered(path):
                refused_inclusion(LEAF_HASHES[index], index, size, wrong, NAIVE[size])


def test_every_consistency_is_proved_and_nothing_else() -> None:
    for size in range(MOST + 1):
        for old in range(size + 1):
            path = consistency_path(old, size, node)
            check_consistency(old, NAIVE[old], size, NAIVE[size], path)
            refused_consistency(old, bytes(32), size, NAIVE[size], path)
            refused_consistency(size + 1, NAIVE[old], size, NAIVE[size], path)
            if old:
                refused_consistency(old - 1, NAIVE[old], size, NAIVE[size], path)
                refused_consistency(old, NAIVE[old - 1], size, NAIVE[size], path)
                refused_consistency(old, NAIVE[old], size, bytes(32), path)
            for wrong in tampered(path):
                refused_consistency(old, NAIVE[old], size, NAIVE[size], wrong)


def tampered(path: list[bytes]) -> list[list[bytes]]:
    """The path with each node altered, left out and doubled, with a node more, and with two swapped."""
    every = [[*path, bytes(32)], [bytes(32), *path]]
    for i, hashed in enumerate(path):
        every += [[*path[:i], bytes(32), *path[i + 1 :]], path[:i] + path[i + 1 :], [*path[:i], hashed, *path[i:]]]
    every += [[*path[:i], path[i + 1], path[i], *path[i + 2 :]] for i in range(len(path) - 1)]
    return every


def test_a_proof_of_what_is_not_there_is_not_made() -> None:
    for index, size in ((-1, 3), (3, 3), (0, 0)):
        with pytest.raises(ValueError, match="no such leaf"):
            inclusion_path(index, size, node)
    for old, size in ((-1, 3), (4, 3)):
        with pytest.raises(ValueError, match="no such tree"):
            consistency_path(old, size, node)


def test_a_root_changes_with_every_leaf_and_with_their_order() -> None:
    leaves = [bytes([number]) for number in range(11)]
    others = [[*leaves[:i], b"x", *leaves[i + 1 :]] for i in range(11)]
    others += [[*leaves[:i], leaves[i + 1], leaves[i], *leaves[i + 2 :]] for i in range(10)]
    others += [leaves[:i] + leaves[i + 1 :] for i in range(11)] + [[*leaves[: i + 1], *leaves[i:]] for i in range(11)]
    assert len({grown(other)[0].root() for other in [leaves, *others]}) == 1 + len(others)


def test_a_node_is_never_taken_for_a_leaf() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert root_of([left + right]) != root_of([b"a", b"b"])


def test_a_tree_holds_one_hash_for_each_bit_of_its_size() -> None:
    tree = Tree()
    for _ in range(2**14 - 1):
        tree.append(bytes(32))
    assert len(tree._peaks) == 14
    copied = tree.copy()
    copied.append(bytes(32))
    assert (tree.size, copied.size, len(copied._peaks)) == (2**14 - 1, 2**14, 1)


def test_a_tree_that_takes_in_many_leaves_at_once_is_that_which_takes_them_one_by_one() -> None:
    hashes = [leaf_hash(bytes([number])) for number in range(40)]
    for before in range(20):
        for more in range(20):
            one_by_one, at_once = Tree(), Tree()
            for leaf in hashes[: before + more]:
                one_by_one.append(leaf)
            at_once.extend(hashes[:before])
            at_once.extend(hashes[before : before + more])
            assert (at_once.size, at_once.peaks) == (one_by_one.size, one_by_one.peaks)
