"""Commands on maps: map, points, score, report, view."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepcrop.cli.options import (
    Overwrite,
    OverwriteCsv,
    parse_fractions,
    parse_season_rule,
    parse_years,
    plain_console,
    print_table,
    refuse_existing,
)
from deepcrop.errors import DeepCropError

if TYPE_CHECKING:
    from deepcrop.mapping.dask_cluster import ClusterOptions
    from deepcrop.mapping.options import MapOptions
    from deepcrop.mapping.region import MapResult


def map_(
    region: Annotated[Path, typer.Argument(help="Observation cube, Zarr or NetCDF.")],
    out: Annotated[Path, typer.Option(help="Directory to write.")],
    year: Annotated[int | None, typer.Option(help="Target year.")] = None,
    years: Annotated[
        str | None,
        typer.Option(
            help="Several years, e.g. 2017-2024: a map of each, and their means and anomalies."
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(help="Method: curve, deepcrop (the network), both (docs/maps.md).")
    ] = "curve",
    weights: Annotated[
        Path | None,
        typer.Option(help="Network: file of weights, .safetensors  [those of the package]"),
    ] = None,
    no_radar: Annotated[
        bool, typer.Option("--no-radar", help="Network: do not read the radar.")
    ] = False,
    index: Annotated[
        str | None, typer.Option(help="Curve: greenness index, ndvi, gcc, evi or evi2  [ndvi]")
    ] = None,
    smoother: Annotated[
        str | None,
        typer.Option(
            help="Curve: whittaker, savgol (the paper's), double_logistic or "
            "asymmetric_gaussian  [whittaker]"
        ),
    ] = None,
    fractions: Annotated[
        str | None,
        typer.Option(
            help="Curve: fractions of the amplitude at which dates are read, e.g. 0.15,0.5,0.9  "
            "[0.2,0.5]"
        ),
    ] = None,
    season_rule: Annotated[
        str | None,
        typer.Option(
            help="Curve: what counts as a season, e.g. min_amplitude=0.1,prominence=0.2 "
            "(docs/curve.md)"
        ),
    ] = None,
    seasons: Annotated[
        int | None, typer.Option(help="Curve: number of seasons of the year to keep  [2]")
    ] = None,
    measures: Annotated[
        bool,
        typer.Option("--measures", help="Curve: also amplitude, base, maximum, integrals, rates."),
    ] = False,
    no_intervals: Annotated[
        bool,
        typer.Option(
            "--no-intervals", help="Curve: leave the 90 % interval of each date out; faster."
        ),
    ] = False,
    year_start: Annotated[
        str | None,
        typer.Option(
            help="Curve: month and day on which the year starts; 07-01 keeps southern summer "
            "crops whole, auto does so south of the equator  [01-01]"
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="Raster; map only where it has data other than 0  [map all]"),
    ] = None,
    parcels: Annotated[
        Path | None,
        typer.Option(help="Polygons; map only inside, and give dates for each  [map all]"),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(help="Layer of the file of parcels  [the only one with polygons]"),
    ] = None,
    fields: Annotated[
        bool, typer.Option("--fields", help="Give dates for each field of the cube's field_id.")
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="Network: device to run on, cpu or cuda  [cpu]")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="Network, on a GPU: float32, bfloat16 or float16  [float32]"),
    ] = None,
    definition: Annotated[
        str | None,
        typer.Option(
            help="Network: what a date means, camera (greenness as a camera sees it) or ndvi (as "
            "the curve, to compare with other products)  [camera]"
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            help="Last day of which observations are read, e.g. 2018-06-15: a map in season, with "
            "forecasts (docs/in_season.md)  [all observations]"
        ),
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Scheduler of a Dask cluster, tcp://HOST:PORT  [none]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of Dask processes on this computer  [none]")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only estimate the memory, disk and time needed.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Map the season dates of one or several years.

    Example: deepcrop map region.zarr --year 2018 --method both --out maps

    An interrupted run resumes where it stopped when the same command is given again.
    """
    from deepcrop.mapping.dask_cluster import ClusterOptions
    from deepcrop.mapping.estimate import estimate
    from deepcrop.mapping.options import resolve_options
    from deepcrop.mapping.region import write_map

    options = resolve_options(
        method,
        index=index,
        smoother=smoother,
        fractions=None if fractions is None else parse_fractions(fractions),
        season_rule=None if season_rule is None else parse_season_rule(season_rule),
        seasons=seasons,
        measures=measures or None,
        intervals=False if no_intervals else None,
        year_start=year_start,
        weights=weights,
        radar=False if no_radar else None,
        device=device,
        precision=precision,
        definition=definition,
        mask=mask,
        parcels=parcels,
        layer=layer,
        fields=fields,
        until=until,
    )
    cluster_options = ClusterOptions(cluster, workers)
    if (year is None) == (years is None):
        raise typer.BadParameter("give either one year or --years FIRST-LAST", param_hint="--year")
    if years is not None:
        _map_years(region, parse_years(years), out, options, cluster_options, dry_run, overwrite)
        return
    assert year is not None
    if dry_run:
        typer.echo(str(estimate(region, year, options, cluster_options)))
        return
    _report(write_map(region, year, out, options, cluster_options, overwrite))


def _map_years(
    region: Path,
    years: tuple[int, ...],
    out: Path,
    options: MapOptions,
    cluster_options: ClusterOptions,
    dry_run: bool,
    overwrite: bool,
) -> None:
    """Map several years, or estimate what one of them takes."""
    from rich.table import Table

    from deepcrop.mapping.estimate import estimate
    from deepcrop.mapping.inputs import InputCube
    from deepcrop.mapping.years import check_years, write_years

    if dry_run:
        check_years(InputCube.open(region), years)
        typer.echo(f"{len(years)} years, each of them:")
        typer.echo(str(estimate(region, years[0], options, cluster_options)))
        return
    result = write_years(region, years, out, options, cluster_options, overwrite)
    summary = result.summary
    table = Table(title=f"{summary['title']}: {years[0]} to {years[-1]}, main season")
    for heading in ("method", "stage", "median of means", *map(str, years)):
        table.add_column(heading, justify="left" if heading in ("method", "stage") else "right")
    for method, numbers in summary["maps"].items():
        for stage, of_stage in numbers.items():
            medians = of_stage["median_anomaly"].values()
            table.add_row(
                method,
                stage.upper(),
                of_stage["median_mean_date"] or "-",
                *("-" if m is None else f"{m:+.0f} days".replace("-", "−") for m in medians),
            )
    plain_console().print(table)
    typer.echo(
        "median anomaly of each year: its date less the mean of the years\n"
        f"a map of each year: {out}/{years[0]}/ ...; means and anomalies: {out}/stack/"
    )


_RUNTIMES = {"compiled": "compiled kernels", "pytorch": "PyTorch"}

_IN_SEASON = ("observed", "forecast", "not_yet_known")
"""Shares of the pixels that are printed of a map in season; of the rest no event is expected."""


def _report(result: MapResult) -> None:
    """Print what was mapped."""
    from rich.table import Table

    from deepcrop.products.layers import WIDE_INTERVAL
    from deepcrop.stages import TargetYear

    summary = result.summary
    year = TargetYear(summary["year"], summary["year_start"])
    until = summary["until"]
    as_known = "" if until is None else f", as known on {until}"
    table = Table(title=f"{summary['title']}: main season of {year}{as_known}")
    shares = {"detected_share": "detected"}
    if until is not None:
        shares = {code: code.replace("_", " ") for code in _IN_SEASON}
    wide = f"{WIDE_INTERVAL} days or more"
    headings = ["method", "stage", *shares.values(), "median", "90 % interval, median"]
    headings += [wide] if until is None else []  # the width of a screen
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("method", "stage") else "right")
    for method in summary["methods"]:
        for stage, layer in summary["maps"][method]["layers"].items():
            if "_season" in stage:
                continue
            found, date = layer | layer.get("status_share", {}), layer["median_date"]
            # Dates that are found nearly everywhere are worth little where they may be months off.
            width, far = layer.get("median_width"), layer.get("wide_share")
            table.add_row(
                method,
                stage.upper(),
                *(f"{100 * found[share]:.1f} %" for share in shares),
                date or "-",
                "-" if width is None else f"{width:.0f} days",
                *(["-" if far is None else f"{100 * far:.1f} %"] if until is None else []),
            )
    plain_console().print(table)
    scenes = ", ".join(f"{name} {number}" for name, number in summary["scenes"].items())
    if runtime := summary["source"].get("runtime"):
        typer.echo(f"network computed by: {_RUNTIMES[runtime]}")
    typer.echo(f"scenes: {scenes}\nmaps, pictures and summary.json: {result.path}/")


def points(
    region: Annotated[
        Path,
        typer.Argument(
            help="Directory made by 'deepcrop map', or an observation cube, dated by the curve."
        ),
    ],
    table: Annotated[
        Path,
        typer.Argument(help="CSV with columns lon and lat (degrees) or x and y (of the map)."),
    ],
    out: Annotated[Path, typer.Option(help="CSV to write.")],
    year: Annotated[int | None, typer.Option(help="Target year, of a cube.")] = None,
    overwrite: OverwriteCsv = False,
) -> None:
    """Give the season dates at points: a CSV of places in, a CSV of dates out.

    Example: deepcrop points maps examples/points.csv --out dates.csv
    """
    from deepcrop.mapping.points import OUTSIDE, points_table, write_points

    refuse_existing(out, overwrite)
    dates = points_table(region, table, year)
    write_points(dates, out)
    main = dates[dates["season"] == 1]
    for method, rows in main.groupby("method", sort=False):
        found = ", ".join(
            f"{stage.upper()} {int(group.notna().sum())}"
            for stage, group in rows.groupby("stage", sort=False)["date"]
        )
        number = int((rows["stage"] == rows["stage"].iloc[0]).sum())
        typer.echo(f"{method}: points inside: {number}; dates of the main season: {found}")
    if outside := dates.attrs["outside"]:
        typer.echo(f"points without dates, {OUTSIDE}: {outside}")
    typer.echo(f"table: {out}")


def score(
    maps: Annotated[
        Path,
        typer.Argument(help="Directory made by 'deepcrop map', or one method's folder in it."),
    ],
    region: Annotated[Path, typer.Argument(help="Simulated region, which holds the true dates.")],
    out: Annotated[Path | None, typer.Option(help="CSV to write  [none]")] = None,
    overwrite: OverwriteCsv = False,
) -> None:
    """Score the maps of a simulated region against its truth.

    Of a map with --until, also its observed and its forecast dates, each by themselves.

    Example: deepcrop score maps/curve region.zarr --out accuracy.csv
    """
    from rich.table import Table

    from deepcrop.evaluation import map_truth, status_scores
    from deepcrop.products.layers import FORECAST, STATUS

    if out is not None:
        refuse_existing(out, overwrite)
    scores = map_truth.score_map(maps, region)
    if out is not None:
        map_truth.write_scores(scores, out)
    table = Table(
        title="SIMULATED DATA: maps against true camera greenness, days; "
        "unmatched: mapped dates without a true season"
    )
    for heading in (
        "group",
        "stage",
        "true dates",
        "detected",
        "unmatched",
        "MAE",
        "bias",
        "median",
    ):
        table.add_column(heading, justify="left" if heading in ("group", "stage") else "right")
    for k, s in enumerate(scores):
        table.add_row(
            s.group if k % 4 == 0 else "",
            s.stage.upper(),
            f"{s.true_dates}",
            f"{100 * s.detected:.1f} %" if s.true_dates else "-",
            f"{100 * s.unmatched:.1f} %",
            *((f"{s.mae:.1f}", f"{s.bias:+.1f}", f"{s.median:.0f}") if s.mae == s.mae else "---"),
            end_section=k % 4 == 3,
        )
    plain_console().print(table)
    if (by_status := status_scores.status_table(maps, region)) is not None:
        print_table(by_status, STATUS[FORECAST])


def view(
    result: Annotated[
        Path,
        typer.Argument(
            help="Directory made by 'deepcrop map', or a folder of maps with --until: 2018-06-15/ …"
        ),
    ],
    cube: Annotated[
        Path | None,
        typer.Option(help="The mapped cube, for its images and time series  [none]"),
    ] = None,
    basemap: Annotated[
        Path | None,
        typer.Option(help="PMTiles file of map tiles to show behind the map  [none]"),
    ] = None,
    port: Annotated[int, typer.Option(help="Port on this computer.", min=1, max=65535)] = 8765,
) -> None:
    """View a map in the browser, served to this computer only.

    Example: deepcrop view demo/maps --cube demo/region.zarr
    """
    try:
        from deepcrop.viewer.server import serve
    except ImportError as error:
        raise DeepCropError(
            f"The viewer needs 'pip install deepcrop[viewer]' ({error})."
        ) from error

    def ready(address: str) -> None:
        typer.echo(f"{address}  (Ctrl-C ends the viewer)")

    serve(result, cube, port, ready, basemap)


def report(
    result: Annotated[
        Path,
        typer.Argument(
            help="Directory made by 'deepcrop map', or a folder of issues of 'deepcrop update'."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder to write  [RESULT/report]")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing report.")
    ] = False,
) -> None:
    """Write a finished map as one HTML page, with its figures as PNG and SVG.

    The page is self-contained and works offline. That of a folder of issues shows how the forecast
    moved from issue to issue.

    Example: deepcrop report maps
    """
    from deepcrop.report import report as write_report

    page = write_report(result, out, overwrite)
    typer.echo(f"report: {page}\nfigures: {page.parent / 'figures'}/")
