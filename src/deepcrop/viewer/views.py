"""What a map can be looked at as: its layers, in the order and words of the page.

A *theme* is one choice in the page's list ("date, by the network"), of all stages and seasons. A
*view* is a theme of one stage and season: what one set of tiles shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deepcrop.products.results import Result, ResultLayer

METHODS = {"curve": "curve", "deepcrop": "network", "difference": "network − curve"}
"""Words for the methods of a result."""

_SEASONS: dict[int | None, str] = {1: "main season", 2: "second season"}
_THEMES = {
    "day": ("date", "Date, by the {method}"),
    "width": ("interval width", "Interval width, by the {method}"),
    "percent": ("probability", "Probability, by the {method}"),
    "difference": ("difference", "Difference, {method}"),
    "length": ("length", "Length of the season, by the {method}"),
}
_KINDS = tuple(_THEMES)


@dataclass(frozen=True)
class View:
    """One thing that tiles can show.

    Attributes
    ----------
    key : str
        That of its layer; of the width of an interval that of the date and ``_width``.
    theme : str
        Which choice of the page it belongs to.
    label : str
        Name of that choice.
    title : str
        Of the view itself, for legends.
    kind : str
        As of `ResultLayer`, or ``"width"``: the second of two layers less the first, in days.
    unit : str
        Of the first of its layers.
    stage : str or None
    season : int or None
    layers : tuple of ResultLayer
        Whose files are read: one, or the two ends of an interval.
    """

    key: str
    theme: str
    label: str
    title: str
    kind: str
    unit: str
    stage: str | None
    season: int | None
    layers: tuple[ResultLayer, ...]


def views_of(result: Result) -> tuple[dict[str, View], list[str]]:
    """All views of a result by their keys, and the keys of layers whose files are missing."""
    missing = [layer.key for layer in result.layers.values() if not layer.path.is_file()]
    there = [layer for layer in result.layers.values() if layer.key not in missing]
    found = [_view(layer) for layer in there if layer.kind != "bound"]
    ends: dict[tuple, dict[str | None, ResultLayer]] = {}
    for layer in there:
        if layer.kind == "bound":
            ends.setdefault((layer.method, layer.stage, layer.season), {})[layer.part] = layer
    found += [_width(pair["low"], pair["high"]) for pair in ends.values() if len(pair) == 2]
    order = {view.theme: k for k, view in enumerate(sorted(found, key=_rank))}
    found.sort(key=lambda view: order[view.theme])
    return {view.key: view for view in found}, missing


def themes_of(views: dict[str, View]) -> list[dict[str, Any]]:
    """Themes as the page wants them, with their views by ``stage/season``.

    The stage is empty for what is of a season as a whole, both are for what is of the pixel.
    """
    themes: dict[str, dict[str, Any]] = {}
    for view in views.values():
        theme = themes.setdefault(
            view.theme,
            {
                "id": view.theme,
                "label": view.label,
                "kind": view.kind,
                "group": "seasons" if view.season else "pixels",
                "views": {},
            },
        )
        at = f"{view.stage or ''}/{view.season}" if view.season else ""
        theme["views"][at] = {"key": view.key, "title": view.title}
    return list(themes.values())


def _rank(view: View) -> tuple:
    """Dates first, the network before the curve; then what is of the pixel."""
    method = ("deepcrop", "curve", "difference", "None").index(str(view.layers[0].method))
    kind = _KINDS.index(view.kind) if view.kind in _KINDS else len(_KINDS)
    return (view.season is None, kind, method)


def _view(layer: ResultLayer) -> View:
    if layer.season is not None:
        return _of_season(layer, layer.key, layer.kind, (layer,))
    label = layer.title[0].upper() + layer.title[1:]
    if layer.method is not None:
        label += f" ({METHODS[layer.method]})"
    return View(layer.key, layer.key, label, label, layer.kind, layer.unit, None, None, (layer,))


def _width(low: ResultLayer, high: ResultLayer) -> View:
    return _of_season(low, low.key.removesuffix("_low") + "_width", "width", (low, high))


def _of_season(layer: ResultLayer, key: str, kind: str, layers: tuple[ResultLayer, ...]) -> View:
    method = METHODS.get(str(layer.method), "")
    short, label = _THEMES[kind]
    season = _SEASONS.get(layer.season, f"season {layer.season}")
    when = f"{layer.stage.upper()}, {season}" if layer.stage else season.capitalize()
    return View(
        key,
        f"{layer.method}-{kind}",
        label.format(method=method),
        f"{when}: {short}, {method}",
        kind,
        layer.unit,
        layer.stage,
        layer.season,
        layers,
    )
