"""The words before a number, which say what it is."""

from __future__ import annotations

__all__ = ["OTHER", "Words"]

REACH = 40  # characters


class Words:
    """Words to look for, in lower case; a space at an end of one stands for the end of a word."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def before(self, text: str, start: int) -> bool:
        """Whether one of them stands in the last characters before `start`."""
        window = f" {text[max(0, start - REACH) : start].lower().translate(_SPACES)} "
        return any(map(window.__contains__, self._words))


# all of ASCII but letters and the number sign separates words
_SPACES = {code: " " for code in range(128) if not chr(code).isalpha() and chr(code) != "#"}
# what many numbers are that are nobody's
OTHER = Words(
    "#", " order", "invoice", "ticket", " ref ", "reference", " sku", "isbn", " ean ", "imei", "serial", "article",
    "artikel", "version", " build", "tracking", "parcel", "commit ", "bestell", "rechnung", "commande", "facture",
    "pedido", "factura", "ordine", "fattura", "订单", "单号", "编号",
)  # fmt: skip
