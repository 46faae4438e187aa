"""The command line: thin commands over typed functions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deepcrop import __version__, cli_fetch, cli_network, cli_report, cli_view, evaluation, stages
from deepcrop.errors import DeepCropError
from deepcrop.estimates import estimate
from deepcrop.ingest import ingest as run_ingest
from deepcrop.label_table import label_files
from deepcrop.labels import CALENDAR
from deepcrop.mapping import MapResult, map_region
from deepcrop.report import report as run_report
from deepcrop.simulation import Region
from deepcrop.simulation import simulate as run_simulate
from deepcrop.staging import is_interruption, progress_bar

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="When crops greened up and when they died down, field by field.",
    rich_markup_mode=None,
)

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what deepcrop wrote under this name before.")
]


def _version(show: bool) -> None:
    if show:
        typer.echo(f"deepcrop {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Zarr store to write, for example region.zarr.")],
    year: Annotated[int, typer.Option(help="Target year.")] = 2018,
    size: Annotated[str, typer.Option(help="Columns x rows, 10 m pixels.")] = "400x300",
    centre: Annotated[str, typer.Option(help="Latitude,longitude in degrees.")] = "41.6,-93.6",
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = 1,
    start: Annotated[
        str | None, typer.Option(help="First day of observations  [1 September before the year]")
    ] = None,
    end: Annotated[
        str | None, typer.Option(help="Last day of observations  [end of February after the year]")
    ] = None,
    optical_scenes: Annotated[
        int | None, typer.Option(help="Keep so many, the clearest  [all under 90 % cloud]")
    ] = None,
    sar_scenes: Annotated[
        int | None, typer.Option(help="Keep so many, of one orbit  [all of two orbits]")
    ] = None,
    sar_revisit: Annotated[int, typer.Option(help="Days between passes of an orbit: 6, 12.")] = 12,
    field_size: Annotated[float, typer.Option(help="Median field size, hectares.")] = 6.0,
    overwrite: Overwrite = False,
) -> None:
    """Simulate a region with known truth.

    Example: deepcrop simulate region.zarr --size 60x40 --year 2018
    """
    if out.suffix == ".nc":
        raise DeepCropError(f"{out}: simulate writes a Zarr store; give a name like region.zarr.")
    rows, cols = _size(size)
    latitude, longitude = _centre(centre)
    region = Region(
        rows=rows,
        cols=cols,
        year=year,
        seed=seed,
        latitude=latitude,
        longitude=longitude,
        start=start,
        end=end,
        optical_scenes=optical_scenes,
        sar_scenes=sar_scenes,
        sar_revisit=sar_revisit,
        field_size_ha=field_size,
    )
    run_simulate(region, out, overwrite)
    typer.echo(f"{out}: simulated, {cols} x {rows} pixels, target year {year}")


def _size(text: str) -> tuple[int, int]:
    try:
        cols, rows = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise DeepCropError(f"--size {text}: expected COLUMNSxROWS, for example 400x300.") from None
    return rows, cols


def _centre(text: str) -> tuple[float, float]:
    try:
        latitude, longitude = (float(part) for part in text.split(","))
    except ValueError:
        raise DeepCropError(
            f"--centre {text}: expected LATITUDE,LONGITUDE, for example 41.6,-93.6."
        ) from None
    return latitude, longitude


@app.command()
def ingest(
    spec: Annotated[Path, typer.Argument(help="What to read, a YAML file: see docs/ingest.md.")],
    out: Annotated[Path, typer.Option(help="Zarr store to write.")],
    overwrite: Overwrite = False,
) -> None:
    """Bring your own data into an observation cube.

    Example: deepcrop ingest examples/flanders_2018.yaml --out flanders.zarr
    """
    run_ingest(spec, out, overwrite)
    typer.echo(f"{out}: ingested")


@app.command("map")
def map_(
    region: Annotated[Path, typer.Argument(help="Observation cube, Zarr or NetCDF.")],
    year: Annotated[int, typer.Option(help="Target year.")],
    out: Annotated[Path, typer.Option(help="Directory to write.")],
    method: Annotated[
        str, typer.Option(help="How: curve, deepcrop (the network), both (docs/maps.md).")
    ] = "curve",
    weights: Annotated[
        Path | None,
        typer.Option(help="Weights of the network, .safetensors  [those of the package]"),
    ] = None,
    no_radar: Annotated[
        bool, typer.Option("--no-radar", help="Keep the radar from the network.")
    ] = False,
    index: Annotated[str, typer.Option(help="Greenness of the curve: ndvi, gcc.")] = "ndvi",
    smoother: Annotated[
        str,
        typer.Option(help="whittaker, savgol (the paper's), double_logistic, asymmetric_gaussian."),
    ] = "whittaker",
    mask: Annotated[
        Path | None, typer.Option(help="Raster: map only where it has data that is not 0  [all]")
    ] = None,
    parcels: Annotated[
        Path | None,
        typer.Option(help="Polygons: map only within, and give dates for each  [all]"),
    ] = None,
    fields: Annotated[
        bool, typer.Option("--fields", help="Give dates for each field of the cube's field_id.")
    ] = False,
    device: Annotated[str, typer.Option(help="Where the network runs: cpu, cuda.")] = "cpu",
    precision: Annotated[
        str, typer.Option(help="Numbers of the network: float32, bfloat16, float16.")
    ] = "float32",
    cluster: Annotated[
        str | None, typer.Option(help="Scheduler of a Dask cluster, tcp://HOST:PORT  [none]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Map with so many Dask processes on this computer  [none]")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what memory and time it would take.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Insist on going on with an interrupted run (else done where it can)."
        ),
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Map the season dates of a year.

    Example: deepcrop map region.zarr --year 2018 --method both --out maps

    An interrupted run goes on where it stopped when the same command is given again.
    """
    options: dict[str, Any] = {
        "index": index,
        "smoother": smoother,
        "method": method,
        "weights": weights,
        "radar": not no_radar,
        "device": device,
        "precision": precision,
        "mask": mask,
        "parcels_path": parcels,
        "fields": fields,
        "address": cluster,
        "workers": workers,
    }
    _warn_of_precision(method, device, precision)
    if dry_run:
        typer.echo(str(estimate(region, year, **options)))
        return
    _report(map_region(region, year, out, overwrite, resume=resume, **options))


def _warn_of_precision(method: str, device: str, precision: str) -> None:
    """Say so where shorter numbers take longer: a processor without them pretends to have them."""
    if method == "curve" or (device, precision) != ("cpu", "bfloat16"):
        return
    try:
        import torch

        from deepcrop.network.devices import has_bfloat16
    except ImportError:  # the mapping says what to install
        return
    if not has_bfloat16(torch.device(device)):
        words = "This processor does not multiply in bfloat16; float32 is faster and exact."
        typer.echo(words, err=True)


def _report(result: MapResult) -> None:
    """Print what was mapped."""
    summary = result.summary
    table = Table(title=f"{summary['title']}: main season of {summary['year']}")
    for heading in ("method", "stage", "detected", "median"):
        table.add_column(heading, justify="left" if heading in ("method", "stage") else "right")
    for method in summary["methods"]:
        for stage in CALENDAR:
            layer = summary["maps"][method]["layers"][stage]
            share, date = layer["detected_share"], layer["median_date"]
            table.add_row(method, stage.upper(), f"{100 * share:.1f} %", date or "-")
    Console().print(table)
    scenes = ", ".join(f"{name} {number}" for name, number in summary["scenes"].items())
    typer.echo(f"scenes: {scenes}\nmaps, pictures and summary.json: {result.path}/")


@app.command()
def score(
    maps: Annotated[
        Path,
        typer.Argument(help="Directory made by 'deepcrop map', or the folder of one method in it."),
    ],
    region: Annotated[Path, typer.Argument(help="The simulated region, with its truth.")],
    out: Annotated[Path, typer.Option(help="CSV to write.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing CSV.")
    ] = False,
) -> None:
    """Score the maps of a simulated region against its truth.

    Example: deepcrop score maps/curve region.zarr --out accuracy.csv
    """
    if out.exists() and not overwrite:
        raise DeepCropError(f"{out} exists. Choose another name, or add --overwrite.")
    _score(maps, region, out)


def _score(maps: Path, region: Path, out: Path) -> None:
    scores = evaluation.score_map(maps, region)
    evaluation.write_scores(scores, out)
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
    Console().print(table)


@app.command()
def labels(
    files: Annotated[list[Path], typer.Argument(help="PhenoCam 1-day or 3-day summary files.")],
    out: Annotated[Path, typer.Option(help="Table to write, .csv or .parquet.")],
    plot: Annotated[
        Path | None, typer.Option(help="Folder for a figure of each camera  [none]")
    ] = None,
    crops: Annotated[
        Path | None, typer.Option(help="Crop table, a CSV with site, year, ct  [none]")
    ] = None,
    column: Annotated[
        str, typer.Option(help="Greenness: gcc_90, gcc_75, gcc_50, gcc_mean.")
    ] = "gcc_90",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing table and figures.")
    ] = False,
) -> None:
    """Read season dates off cameras' greenness, and screen them.

    Example: deepcrop labels phenocam/*_3day.csv --out labels.csv --plot figures
    """
    with progress_bar() as bar:
        run = label_files(
            files,
            out,
            plots=plot,
            crops=crops,
            column=column,
            overwrite=overwrite,
            track=lambda paths: bar.track(paths, description="cameras"),
        )
    years = run.years
    seasons = sum(len(year.seasons) for year in years)
    typer.echo(
        f"{out}: {len(run.labels)} cameras, {seasons} seasons; "
        f"{sum(year.accepted for year in years)} of {len(years)} site-years accepted"
    )
    if run.failures:
        raise DeepCropError(
            f"{len(run.failures)} of {len(files)} files failed; all else is in {out}."
            "\n" + "\n".join(run.failures)
        )


app.command()(cli_fetch.fetch)
app.command()(cli_fetch.doctor)
app.command()(cli_report.report)
app.command()(cli_network.train)
app.command()(cli_network.evaluate)
app.command()(cli_network.reproduce)
app.command()(cli_view.view)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Directory to write into.")] = Path("demo"),
) -> None:
    """Simulate a small region, map it, and compare with the truth.

    Example: deepcrop demo --out demo
    """
    out.mkdir(parents=True, exist_ok=True)
    region, maps = out / "region.zarr", out / "maps"
    year = 2018
    run_simulate(Region(year=year), region, overwrite=True)
    result = map_region(region, year, maps, overwrite=True)
    _score(maps, region, out / "accuracy.csv")
    for stage in stages.STAGES:
        evaluation.draw_comparison(maps, region, stage, out / f"truth_{stage}.png")
    evaluation.draw_series(region, year, out / "series.png")
    page = run_report(maps)
    _report(result)
    typer.echo(
        f"""
All of this is SIMULATED DATA with known truth.
  region (observations and truth)  {region}
  maps (COG, STAC item)            {maps}/sos20.tif ... eos20.tif item.json
  pictures of the maps             {maps}/sos20.png ...
  map against truth, pictures      {out}/truth_sos20.png ...
  map against truth, numbers       {out}/accuracy.csv
  one pixel's curve and dates      {out}/series.png
  summary                          {maps}/summary.json
  all of it as a page to read      {page}
  and in the browser               deepcrop view {maps} --cube {region}"""
    )


def main() -> None:
    """Run the command line; what the user can mend is printed without a traceback."""
    try:
        app()
    except DeepCropError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # a full disk, a folder that may not be written
        # Of GDAL's errors neither is known.
        said = f"Error: {error.filename or 'file system'}: {error.strerror or error}"
        print(said, *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        sys.exit(2)
    except SystemError as error:
        if not is_interruption(error):
            raise
        sys.exit(130)  # as Typer answers any other Ctrl-C


if __name__ == "__main__":
    main()
