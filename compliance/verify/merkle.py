"""The Merkle tree of RFC 6962 section 2.1, grown leaf by leaf in logarithmic memory."""

from __future__ import annotations

from compliance.crypto import sha256

__all__ = ["Tree", "leaf_hash"]


def leaf_hash(body: bytes) -> bytes:
    return sha256(b"\x00", body)


class Tree:
    """Holds the roots of the perfect subtrees that make up the tree so far, the largest first."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        # every trailing one bit of the size is a perfect subtree that the new leaf completes to a larger one
        node, rest = leaf, self.size
        while rest & 1:
            node = sha256(b"\x01", self._peaks.pop(), node)
            rest >>= 1
        self._peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        if not self._peaks:
            return sha256()
        node = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            node = sha256(b"\x01", peak, node)
        return node
