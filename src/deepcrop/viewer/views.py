"""List what the page can show of a map.

A *variable* is one entry of the page's list, for example "Date (network)", of all stages and
seasons. A *view* is a variable of one stage and season: the content of one set of tiles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deepcrop.stages import season_name

if TYPE_CHECKING:
    from deepcrop.products.results import Result, ResultLayer

METHODS = {"curve": "curve", "deepcrop": "network", "difference": "network − curve"}
"""Names of the methods on the page."""

_VARIABLES = {
    "day": "date",
    "width": "interval width",
    "percent": "probability",
    "status": "observed or forecast",
    "reason": "reason for no date",
    "difference": "difference",
    "length": "length of season",
    "measure": "measure",
}
"""Name of each kind of view that is of a season, in the order of the page."""

_KINDS = tuple(_VARIABLES)


@dataclass(frozen=True)
class View:
    """A variable of one stage and season.

    Attributes
    ----------
    key : str
        Key of the layer; for the width of an interval the key of the date and ``_width``.
    variable : str
        Key of the variable; empty if the list of the page has none.
    label : str
        Name of the variable in the list of the page.
    title : str
        Title of the view in legends.
    kind : str
        Kind of the `ResultLayer`, or ``"width"``: the second of two layers less the first, days.
    unit : str
        Unit of the values.
    stage : str or None
    season : int or None
    layers : tuple of ResultLayer
        Layers whose files are read: one, the two ends of an interval, or the status of a date by
        both methods.
    status : str or None
        Key of the view that says which of the values are forecasts, of a map in season.
    """

    key: str
    variable: str
    label: str
    title: str
    kind: str
    unit: str
    stage: str | None
    season: int | None
    layers: tuple[ResultLayer, ...]
    status: str | None = None


def views_of(result: Result) -> tuple[dict[str, View], list[str]]:
    """Return the views of a map by key, and the keys of layers whose files are missing."""
    missing = [layer.key for layer in result.layers.values() if not layer.path.is_file()]
    present = [layer for layer in result.layers.values() if layer.key not in missing]
    year = str(result.target)
    views = [_view(layer, year) for layer in present if layer.kind != "bound"]
    ends: dict[tuple[Any, ...], dict[str | None, ResultLayer]] = {}
    for layer in present:
        if layer.kind == "bound":
            ends.setdefault((layer.method, layer.stage, layer.season), {})[layer.part] = layer
    views += [
        _width(pair["low"], pair["high"], year)
        for pair in ends.values()
        if {"low", "high"} <= pair.keys()
    ]
    order = {view.variable: k for k, view in enumerate(sorted(views, key=_rank))}
    views.sort(key=lambda view: order[view.variable])
    return _with_status({view.key: view for view in views}), missing


def _with_status(views: dict[str, View]) -> dict[str, View]:
    """Give the views of a map in season the view of their status; of other maps nothing."""
    status = {
        (view.layers[0].method, view.stage, view.season): view
        for view in views.values()
        if view.kind == "status"
    }
    # The end of a season is known last, so that it says whether the length is a forecast.
    ends = {(method, season): view for (method, _, season), view in status.items()}
    found = dict(views)
    for view in views.values():
        method = view.layers[0].method
        if view.kind in ("day", "width"):
            of = status.get((method, view.stage, view.season))
        elif view.kind == "length":
            of = ends.get((method, view.season))
        elif view.kind == "difference" and (pair := _both(status, view)):
            layers = tuple(one.layers[0] for one in pair)
            of = replace(pair[0], key=f"{view.key}_status", variable="", layers=layers)
            found[of.key] = of
        else:
            continue
        found[view.key] = replace(view, status=of.key if of else None)
    return found


def _both(status: dict[tuple[Any, ...], View], view: View) -> tuple[View, ...]:
    """Return the status of a date by both methods; nothing if one of them has none."""
    pair = [status.get((method, view.stage, view.season)) for method in ("deepcrop", "curve")]
    return tuple(one for one in pair if one) if None not in pair else ()


def variables_of(views: dict[str, View]) -> list[dict[str, Any]]:
    """Return the variables as JSON for the page, with their views by ``stage/season``.

    The stage is empty for variables of a whole season; both are empty for variables of the pixel.
    """
    variables: dict[str, dict[str, Any]] = {}
    for view in views.values():
        if not view.variable:
            continue
        variable = variables.setdefault(
            view.variable,
            {
                "id": view.variable,
                "label": view.label,
                "kind": view.kind,
                "group": "seasons" if view.season else "pixels",
                "views": {},
            },
        )
        stage_season = f"{view.stage or ''}/{view.season}" if view.season else ""
        variable["views"][stage_season] = {
            "key": view.key,
            "title": view.title,
            "status": view.status,
        }
    return list(variables.values())


def _rank(view: View) -> tuple[bool, int, int]:
    """Order variables: those of a season before those of the pixel, then by kind and method."""
    method = ("deepcrop", "curve", "difference", "None").index(str(view.layers[0].method))
    kind = _KINDS.index(view.kind) if view.kind in _KINDS else len(_KINDS)
    return (view.season is None, kind, method)


def _view(layer: ResultLayer, year: str) -> View:
    if layer.season is not None:
        return _of_season(layer, layer.key, layer.kind, (layer,), year)
    label = layer.title[0].upper() + layer.title[1:]
    if layer.method is not None:
        label += f" ({METHODS[layer.method]})"
    return View(
        key=layer.key,
        variable=layer.key,
        label=label,
        title=label,
        kind=layer.kind,
        unit=layer.unit,
        stage=None,
        season=None,
        layers=(layer,),
    )


def _width(low: ResultLayer, high: ResultLayer, year: str) -> View:
    return _of_season(low, low.key.removesuffix("_low") + "_width", "width", (low, high), year)


def _of_season(
    layer: ResultLayer, key: str, kind: str, layers: tuple[ResultLayer, ...], year: str
) -> View:
    method = METHODS.get(str(layer.method), "")
    assert layer.season is not None
    name, variable = _VARIABLES[kind], f"{layer.method}-{kind}"
    if kind == "measure":  # each measure is a variable of its own
        name = layer.title.removesuffix(f", season {layer.season}")
        variable += f"-{layer.key.rsplit('/', 1)[-1].removesuffix(f'_season{layer.season}')}"
    season = f"{season_name(layer.season)} {year}"
    when = f"{layer.stage.upper()}, {season}" if layer.stage else season.capitalize()
    return View(
        key=key,
        variable=variable,
        label=f"{name[0].upper()}{name[1:]} ({method})",
        title=f"{when}: {name} ({method})",
        kind=kind,
        unit=layer.unit,
        stage=layer.stage,
        season=layer.season,
        layers=layers,
    )
