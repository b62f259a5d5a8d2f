"""The Merkle tree of RFC 6962 section 2.1 and its proofs (RFC 9162 sections 2.1.3 and 2.1.4).

The tree grows leaf by leaf in logarithmic memory. Its nodes may be stored in the order in which they come to be: a
leaf, then each node that it completes; `position` says where a node stands, so that a proof takes a few reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from compliance.crypto import Unauthentic

__all__ = [
    "Nodes",
    "Tree",
    "check_consistency",
    "check_inclusion",
    "consistency_path",
    "inclusion_path",
    "leaf_hash",
    "peaks",
    "position",
    "root_of",
    "stored",
]

# reads the node at a level (0: leaves) and an index within it
Nodes = Callable[[int, int], bytes]


def leaf_hash(body: bytes) -> bytes:
    return sha256(b"\x00" + body).digest()


class Tree:
    """Holds the roots of the perfect subtrees that make up the tree so far, the largest first."""

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self._peaks = list(peaks)

    @classmethod
    def from_nodes(cls, size: int, node: Nodes) -> Tree:
        """The tree of the first `size` leaves whose nodes are stored."""
        return cls(size, [node(level, index) for level, index in peaks(0, size)])

    def append(self, leaf: bytes) -> list[bytes]:
        """Take in a leaf hash. Returns the nodes that it made, in the order in which they are stored."""
        # every trailing one bit of the size is a perfect subtree that the new leaf completes to a larger one
        node, rest, peaks = leaf, self.size, self._peaks
        made = [leaf]
        while rest & 1:
            node = sha256(b"\x01" + peaks.pop() + node).digest()
            made.append(node)
            rest >>= 1
        peaks.append(node)
        self.size += 1
        return made

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Take in many leaf hashes, level by level, which is faster than one by one."""
        nodes, rest, made = list(leaves), self.size, []
        while nodes:
            # a perfect subtree from before, which the first of these stands beside
            if rest & 1:
                nodes.insert(0, self._peaks.pop())
            if len(nodes) & 1:
                made.append(nodes.pop())
            pairs = iter(nodes)
            nodes = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
            rest >>= 1
        self._peaks += reversed(made)
        self.size += len(leaves)

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """The roots of the perfect subtrees, the largest first, from which the tree can be gone on with."""
        return tuple(self._peaks)

    def copy(self) -> Tree:
        return Tree(self.size, self._peaks)

    def root(self) -> bytes:
        return _joined(self._peaks)


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over leaves that are given as they are, not as hashes."""
    tree = Tree()
    for leaf in leaves:
        tree.append(leaf_hash(leaf))
    return tree.root()


def stored(size: int) -> int:
    """How many nodes are stored for a tree of this size: two a leaf, less those that are not complete."""
    return 2 * size - size.bit_count()


def position(level: int, index: int) -> int:
    """Where the node stands among the stored ones, counted in nodes."""
    last_leaf = ((index + 1) << level) - 1  # it was stored behind this leaf, which completed it
    return stored(last_leaf) + level


def inclusion_path(index: int, size: int, node: Nodes) -> list[bytes]:
    """The proof that the leaf at `index` stands in the tree of `size` leaves, from the leaf upwards."""
    if not 0 <= index < size:
        raise ValueError("there is no such leaf")
    path, start, end = [], 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_subtree(middle, end, node))
            end = middle
        else:
            path.append(_subtree(start, middle, node))
            start = middle
    return path[::-1]


def consistency_path(old: int, size: int, node: Nodes) -> list[bytes]:
    """The proof that the tree of `old` leaves is the beginning of that of `size` leaves."""
    if not 0 <= old <= size:
        raise ValueError("there is no such tree")
    if old in (0, size):
        return []
    path, start, end, whole = [], 0, size, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_subtree(middle, end, node))
            end = middle
        else:
            path.append(_subtree(start, middle, node))
            start, whole = middle, False
    if not whole:
        path.append(_subtree(start, end, node))
    return path[::-1]


def check_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """RFC 9162 section 2.1.3.2. Returns when the proof holds, else raises Unauthentic."""
    if not 0 <= index < size:
        raise _unproved()
    node, position, last = leaf, index, size - 1
    for sibling in path:
        if not last:
            raise _unproved()
        if position & 1 or position == last:
            node = sha256(b"\x01" + sibling + node).digest()
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            node = sha256(b"\x01" + node + sibling).digest()
        position >>= 1
        last >>= 1
    if last or node != root:
        raise _unproved()


def check_consistency(old: int, old_root: bytes, size: int, root: bytes, path: Sequence[bytes]) -> None:
    """RFC 9162 section 2.1.4.2. Returns when the first tree is the beginning of the second, else raises Unauthentic."""
    if not 0 <= old <= size:
        raise _unproved()
    if old in (0, size):
        # nothing is the beginning of everything, and a tree that of itself
        if path or (old == size and old_root != root) or (old == 0 and old_root != sha256().digest()):
            raise _unproved()
        return
    nodes = list(path)
    if not old & (old - 1):
        nodes.insert(0, old_root)
    if not nodes:
        raise _unproved()
    position, last = old - 1, size - 1
    while position & 1:
        position >>= 1
        last >>= 1
    before = after = nodes[0]
    for sibling in nodes[1:]:
        if not last:
            raise _unproved()
        if position & 1 or position == last:
            before = sha256(b"\x01" + sibling + before).digest()
            after = sha256(b"\x01" + sibling + after).digest()
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            after = sha256(b"\x01" + after + sibling).digest()
        position >>= 1
        last >>= 1
    if last or before != old_root or after != root:
        raise _unproved()


def _joined(peaks: Sequence[bytes]) -> bytes:
    if not peaks:
        return sha256().digest()
    node = peaks[-1]
    for peak in reversed(peaks[:-1]):
        node = sha256(b"\x01" + peak + node).digest()
    return node


def _subtree(start: int, end: int, node: Nodes) -> bytes:
    """The root over the leaves from `start` to before `end`, where `start` is a multiple of a larger power of two."""
    return _joined([node(level, index) for level, index in peaks(start, end)])


def peaks(start: int, end: int) -> list[tuple[int, int]]:
    """Level and index of the perfect subtrees that make up these leaves, the largest first."""
    found = []
    while start < end:
        level = (end - start).bit_length() - 1
        found.append((level, start >> level))
        start += 1 << level
    return found


def _split(size: int) -> int:
    """The largest power of two below the size."""
    return 1 << (size - 1).bit_length() - 1


def _unproved() -> Unauthentic:
    return Unauthentic("proof", "the proof does not lead to this root")
