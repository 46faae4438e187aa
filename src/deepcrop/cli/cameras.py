"""Commands on cameras: labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepcrop.errors import DeepCropError


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
        str, typer.Option(help="Greenness statistic: gcc_90, gcc_75, gcc_50 or gcc_mean.")
    ] = "gcc_90",
    year_start: Annotated[
        str,
        typer.Option(
            help="Month and day on which a year starts; 07-01 keeps southern summer crops whole, "
            "auto does so south of the equator."
        ),
    ] = "01-01",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing table and figures.")
    ] = False,
) -> None:
    """Extract season dates from camera greenness, and screen them.

    Example: deepcrop labels phenocam/*_3day.csv --out labels.csv --plot figures
    """
    from deepcrop.cameras.label_table import label_files
    from deepcrop.storage.progress import progress_bar

    with progress_bar() as bar:
        run = label_files(
            files,
            out,
            plots=plot,
            crops=crops,
            column=column,
            overwrite=overwrite,
            year_start=year_start,
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
