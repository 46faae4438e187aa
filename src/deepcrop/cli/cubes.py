"""Commands that make a cube: simulate, ingest, fetch; and doctor."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepcrop.cli.options import Overwrite, archive_years, plain_console
from deepcrop.errors import DeepCropError
from deepcrop.sources import ARCHIVES, pixel_size

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from deepcrop.fetch.camera_sites import SiteFetched
    from deepcrop.fetch.estimate import Estimate
    from deepcrop.fetch.run import Fetched
    from deepcrop.sources.phenocam.service import PhenoCam


def simulate(
    out: Annotated[Path, typer.Argument(help="Zarr store to write, for example region.zarr.")],
    year: Annotated[int, typer.Option(help="Target year.")] = 2018,
    size: Annotated[str, typer.Option(help="Columns x rows, 10 m pixels.")] = "400x300",
    centre: Annotated[str, typer.Option(help="Latitude,longitude in degrees.")] = "41.6,-93.6",
    seed: Annotated[int, typer.Option(help="Seed of the random numbers.")] = 1,
    start: Annotated[
        str | None,
        typer.Option(help="First date of observations  [1 September of the year before]"),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option(help="Last date of observations  [end of February of the year after]"),
    ] = None,
    optical_scenes: Annotated[
        int | None,
        typer.Option(
            help="Maximum number of optical scenes; the clearest are kept  [all under 90 % cloud]"
        ),
    ] = None,
    sar_scenes: Annotated[
        int | None,
        typer.Option(
            help="Maximum number of radar scenes, all of one orbit  [all scenes of two orbits]"
        ),
    ] = None,
    sar_revisit: Annotated[
        int, typer.Option(help="Days between passes of a radar orbit: 6 or 12.")
    ] = 12,
    field_size: Annotated[float, typer.Option(help="Median field size in hectares.")] = 6.0,
    overwrite: Overwrite = False,
) -> None:
    """Simulate a region with known truth.

    Example: deepcrop simulate region.zarr --size 60x40 --year 2018
    """
    from deepcrop.simulation import Region
    from deepcrop.simulation import simulate as simulate_region

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
    simulate_region(region, out, overwrite)
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


def ingest(
    spec: Annotated[
        Path, typer.Argument(help="Specification of the input files, YAML (docs/ingest.md).")
    ],
    out: Annotated[Path, typer.Option(help="Zarr store to write.")],
    overwrite: Overwrite = False,
) -> None:
    """Convert your own files into an observation cube.

    Example: deepcrop ingest examples/flanders_2018.yaml --out flanders.zarr
    """
    from deepcrop.ingest import ingest as ingest_files

    ingest_files(spec, out, overwrite)
    typer.echo(f"{out}: ingested")


def fetch(
    out: Annotated[
        Path, typer.Argument(help="Zarr store to write; with --sites, a folder for all of them.")
    ],
    years: Annotated[str, typer.Option(help="Target years: 2018, or 2017-2019.")],
    area: Annotated[
        str | None,
        typer.Option(
            help="west,south,east,north in degrees, a GeoJSON file, ta1, ta1-counties or ta2."
        ),
    ] = None,
    sites: Annotated[
        str | None,
        typer.Option(help="PhenoCam sites: names with commas, a file of names, or paper."),
    ] = None,
    archive: Annotated[
        str, typer.Option(help=f"{', '.join(ARCHIVES)}, or your own (YAML).")
    ] = "pc",
    sensors: Annotated[str, typer.Option(help="optical, sar, or both.")] = "optical,sar",
    orbits: Annotated[
        str, typer.Option(help="Relative orbits of the radar: best, all, or a number.")
    ] = "best",
    max_cloud: Annotated[
        float, typer.Option(help="Maximum cloud cover of an optical product, %.")
    ] = 90.0,
    keep: Annotated[
        str | None,
        typer.Option(help="Scene classes of Sentinel-2 to keep  [4,5,6,7; ee: Cloud Score+]"),
    ] = None,
    cloud_buffer: Annotated[
        float, typer.Option(help="Metres around cloud and shadow that are masked, too.")
    ] = 0.0,
    cloud_probability: Annotated[
        float | None,
        typer.Option(help="Mask above this probability of cloud, %: earth-search, ee  [ee: 40]"),
    ] = None,
    nir: Annotated[
        str, typer.Option(help="Band read as near infrared: B08, or B07 of the paper's Table 1.")
    ] = "B08",
    crops: Annotated[
        str | None,
        typer.Option(help="Crop types: cropscape or pc (USDA CDL), or a raster file  [none]"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list the scenes and estimate size and time.")
    ] = False,
    threads: Annotated[int, typer.Option(help="Number of scenes read in parallel.", min=1)] = 4,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what deepcrop wrote under this name.")
    ] = False,
) -> None:
    """Fetch observation cubes of an area, or of camera sites, from an archive.

    An interrupted run resumes where it stopped when the same command is given again.

    Example: deepcrop fetch solano.zarr --area=-121.56,38.34,-121.54,38.36 --years 2018
    """
    from deepcrop.fetch import camera_sites
    from deepcrop.fetch.estimate import estimate
    from deepcrop.fetch.manifest import missing_scenes
    from deepcrop.fetch.plan import FetchRequest
    from deepcrop.fetch.run import fetch as fetch_area
    from deepcrop.fetch.run import is_fetched
    from deepcrop.grid import areas
    from deepcrop.sources.phenocam import service as phenocam

    # These libraries log every retried request; what fails for good is named at the end.
    for library in ("rasterio", "odc"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    if (area is None) == (sites is None):
        raise DeepCropError("Give one of --area and --sites.")
    target_years = archive_years(years)
    request = partial(
        FetchRequest,
        # From the autumn before, when winter crops green up, to the winter after the last harvest.
        start=date(target_years[0] - 1, 9, 1),
        end=date(target_years[-1] + 1, 2, 28),
        archive=archive,
        sensors=tuple(sensor.strip() for sensor in sensors.split(",")),
        orbits=int(orbits) if orbits.isdigit() else orbits,
        max_cloud=max_cloud,
        keep=None if keep is None else _classes(keep),
        nir=nir,
        crops=crops,
        cloud_buffer=cloud_buffer,
        cloud_probability=cloud_probability,
    )
    size = pixel_size(archive)
    with phenocam.connect(_cache()) as network:
        if sites is not None:
            names = camera_sites.site_names(sites, network, _cache())
            if dry_run:
                box = camera_sites.grid_around(network.camera(names[0]), size)
                _print_estimate(estimate(request(box), threads), box, len(names))
                return
            done = camera_sites.fetch_sites(
                names,
                network,
                request,
                out,
                overwrite=overwrite,
                threads=threads,
                resolution=size,
            )
            _report_sites(done, out)
            return
        place = areas.area_of(str(area), size)
        wanted = request(place.box)
        if dry_run:
            _print_estimate(estimate(wanted, threads), place.box)
            return
        if not overwrite and is_fetched(out, wanted):
            typer.echo(f"{out} is there already")
        else:
            result = fetch_area(wanted, out, title=place.name, overwrite=overwrite, threads=threads)
            _report(result)
        missing = missing_scenes(out)
        missing += _fetch_cameras(place.box, network, out.with_suffix(".cameras"))
    _complain(missing, "The same command fetches cameras again; 'deepcrop update' scenes.")


def doctor(
    folder: Annotated[Path, typer.Argument(help="Where cubes will be written.")] = Path(),
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an archive.", min=0.1)] = 10.0,
) -> None:
    """Check the installation, the archives and the credentials; print versions for bug reports.

    Example: deepcrop doctor
    """
    from deepcrop.fetch.doctor import FAILED, examine, versions

    findings = examine(folder, timeout)
    for finding in findings:
        typer.echo(f"{finding.state:9}{finding.subject}: {finding.detail}")
        if finding.advice:
            typer.echo(f"{'':9}{finding.advice}")
    typer.echo("\nversions, for bug reports:")
    for name, version in versions().items():
        typer.echo(f"{name}: {version}")
    if any(finding.state == FAILED for finding in findings):
        raise typer.Exit(1)


def _classes(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) <= 11 for part in parts):
        raise DeepCropError(f"--keep {text}: expected scene classes from 0 to 11, as in 4,5,6,7.")
    return tuple(int(part) for part in parts)


def _fetch_cameras(box: GeoBox, network: PhenoCam, folder: Path) -> list[str]:
    """Fetch the series of the cameras in an area; return what is missing."""
    from deepcrop.fetch import camera_sites
    from deepcrop.sources.archive import ArchiveError

    try:
        found, missing = camera_sites.fetch_cameras(box, network, folder)
    except ArchiveError as error:
        return [f"cameras in the area: {error}"]
    where = f"; their series: {folder}" if found else ""
    typer.echo(f"{len(found)} PhenoCam sites in the area{where}")
    return missing


def _cache() -> Path:
    return Path(typer.get_app_dir("deepcrop")) / "phenocam"


# What is printed --------------------------------------------------------------------------------


def _print_estimate(estimate: Estimate, box: GeoBox, sites: int = 1) -> None:
    from rich.table import Table

    table = Table(
        title=f"{box.shape[1]} x {box.shape[0]} pixels of {box.resolution.x:g} m, {box.crs}"
    )
    for heading in ("sensor", "time", "orbit", "cloud, %", "products"):
        table.add_column(heading)
    for sensor, scenes in estimate.scenes.items():
        for scene in scenes:
            table.add_row(
                sensor,
                str(scene.time.astype("datetime64[m]")),
                "-" if scene.relative_orbit is None else str(scene.relative_orbit),
                "-" if scene.cloud_cover is None else f"{scene.cloud_cover:.0f}",
                str(len(scene.products)),
            )
    plain_console().print(table)
    counts = ", ".join(f"{len(scenes)} {name}" for name, scenes in estimate.scenes.items())
    seconds = estimate.seconds * sites
    duration = f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
    each = f" a site, {sites} sites" if sites > 1 else ""
    typer.echo(
        f"{counts} scenes{each}; about {estimate.moved * sites / 1e9:.2f} GB to read, "
        f"{estimate.disk * sites / 1e9:.2f} GB of disk at most, "
        f"{duration} (from one tile read now)"
    )


_LISTED = 10
"""Products left out of a search that are printed; the manifest has all of them."""


def _report(result: Fetched) -> None:
    from deepcrop.fetch.manifest import read_manifest

    rows = read_manifest(result.path)
    counts = Counter(f"{row['sensor']} {row['state']}".strip() for row in rows)
    typer.echo(f"{result.path}: " + ", ".join(f"{n} {key}" for key, n in counts.items()))
    for reason in result.left_out[:_LISTED]:
        typer.echo(f"  {reason}")
    if len(result.left_out) > _LISTED:
        typer.echo(f"  … and {len(result.left_out) - _LISTED} more, in the file below")
    typer.echo(f"state of each scene: {result.manifest}")


def _report_sites(done: list[SiteFetched], out: Path) -> None:
    from deepcrop.fetch.camera_sites import SERIES
    from deepcrop.fetch.manifest import missing_scenes
    from deepcrop.sources.phenocam.summary_files import ACKNOWLEDGEMENT_FILE

    fetched = [site for site in done if not site.reason]
    typer.echo(f"{out}: {len(fetched)} of {len(done)} sites, series in {out / SERIES}")
    typer.echo(f"whoever publishes from them includes {out / ACKNOWLEDGEMENT_FILE}")
    missing = [f"{site.site}: {site.reason}" for site in done if site.reason]
    for site in fetched:
        missing += missing_scenes(out / f"{site.site}.zarr")
    _complain(missing, "The same command fetches what is missing; a cube again with --overwrite.")


def _complain(missing: list[str], advice: str) -> None:
    """Raise an error that lists all that is missing, as the last thing printed."""
    if missing:
        lines = "\n".join(missing)
        raise DeepCropError(f"{len(missing)} missing; all else is there. {advice}\n{lines}")
