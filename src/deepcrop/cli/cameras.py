"""Commands on cameras: gcc, labels."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from deepcrop.cli.options import refuse_existing
from deepcrop.errors import DeepCropError


def gcc(
    images: Annotated[
        Path, typer.Argument(help="Folder of images called SITE_YYYY_MM_DD_HHMMSS.jpg.")
    ],
    mask: Annotated[
        list[Path],
        typer.Option(
            help="Mask of a region, black inside, SITE_VEG_NUMBER_01.tif, or its list of masks, "
            "SITE_VEG_NUMBER_roi.csv; may be repeated."
        ),
    ],
    latitude: Annotated[float, typer.Option(help="Latitude of the camera, degrees north.")],
    longitude: Annotated[float, typer.Option(help="Longitude of the camera, degrees east.")],
    utc_offset: Annotated[
        float, typer.Option(help="Hours from UTC to the camera's standard time, -6 in Nebraska.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the summary files.")],
    period: Annotated[int, typer.Option(help="Days of each value: 1 or 3.")] = 3,
    plot: Annotated[
        Path | None,
        typer.Option(help="Folder for a figure of each region: image, outline, GCC  [none]"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing summary files.")
    ] = False,
) -> None:
    """Compute GCC, green / (red + green + blue), of camera images.

    It writes a summary file for each region of interest, which `deepcrop labels` reads. Images too
    dark, too bright or with the sun below 10 degrees are left out, by the rules of the PhenoCam
    network; a table lists them with the reason.

    Example: deepcrop gcc images --mask mead2_AG_1000_01.tif --latitude 41.16 --longitude=-96.47
    --utc-offset=-6 --out cameras
    """
    from deepcrop.sources.phenocam.image_greenness import Region, series_file, summarize_folder
    from deepcrop.sources.phenocam.roi_masks import region_name
    from deepcrop.storage.progress import progress_bar

    if period not in (1, 3):
        raise DeepCropError(
            f"--period {period}: expected 1 or 3 days, as the PhenoCam network has."
        )
    regions = {path: Region(*region_name(path), latitude, longitude, utc_offset) for path in mask}
    names = [region.name for region in regions.values()]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DeepCropError(
            f"Several masks of {', '.join(twice)}: expected one of each region. Name those of a "
            "camera that was moved in a list, SITE_VEG_NUMBER_roi.csv, with their times."
        )
    for region in regions.values():
        refuse_existing(series_file(out, region, period), overwrite)
    with progress_bar() as bar:
        for path, region in regions.items():
            run = summarize_folder(
                images,
                path,
                region,
                out,
                period,
                track=partial(bar.track, description=region.name),
            )
            count = len(run.images) - len(run.skipped)
            typer.echo(
                f"{run.series}: {count} of {len(run.images)} images count; each with its colour "
                f"and the reason in {run.table.name}"
            )
            if plot is not None:
                from deepcrop.cameras.roi_figure import roi_figure
                from deepcrop.figures.style import save

                plot.mkdir(parents=True, exist_ok=True)
                save(roi_figure(run, path), plot / f"{region.name}.png")


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
