"""The parts of a chart: inline SVG as XML trees, so that no text can leave its place.

Fonts are attributes of <svg>, since a printer may not apply a page's CSS inside it.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement

__all__ = ["line", "picture", "rect", "text"]

_GRID, _TEXT = "#d9d9d9", "#444444"
_FONT = (
    "Noto Sans, Segoe UI, Helvetica, Arial, Noto Sans CJK SC, Noto Sans SC, PingFang SC, Microsoft YaHei, sans-serif"
)


def picture(width: int, height: int, label: str, *, stretched: bool = False) -> Element:
    """An <svg> with what it shows as its title; without a label it is for the eye alone."""
    svg = Element("svg", {"viewBox": f"0 0 {width} {height}", "font-family": _FONT, "font-size": "11"})
    svg.set("fill", _TEXT)
    if stretched:
        svg.set("preserveAspectRatio", "none")
    if label:
        svg.set("role", "img")
        SubElement(svg, "title").text = label
    else:
        svg.set("aria-hidden", "true")
    return svg


def rect(parent: Element, x: float, y: float, width: float, height: float, fill: str) -> None:
    box = {"x": f"{x:.2f}", "y": f"{y:.2f}", "width": f"{width:.2f}", "height": f"{height:.2f}"}
    SubElement(parent, "rect", box | {"fill": fill})


def line(parent: Element, x1: float, y1: float, x2: float, y2: float, stroke: str = _GRID) -> None:
    points = {"x1": f"{x1:.2f}", "y1": f"{y1:.2f}", "x2": f"{x2:.2f}", "y2": f"{y2:.2f}"}
    SubElement(parent, "line", points | {"stroke": stroke})


def text(parent: Element, x: float, y: float, said: str, *, anchor: str = "middle") -> None:
    SubElement(parent, "text", {"x": f"{x:.2f}", "y": f"{y:.2f}", "text-anchor": anchor}).text = said
