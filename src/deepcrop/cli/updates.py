"""Command that adds new scenes to a cube and maps them: update."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from deepcrop.fetch.update import Updated


def update(
    region: Annotated[Path, typer.Argument(help="Cube made by 'deepcrop fetch'.")],
    maps: Annotated[
        Path | None,
        typer.Option(help="Folder of the issues: maps in season, each named after its day."),
    ] = None,
    year: Annotated[int | None, typer.Option(help="Target year of the maps.")] = None,
    until: Annotated[
        str | None,
        typer.Option(help="Last day of the scenes, and name of the issue, 2026-07-15  [today]"),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(help="Do nothing while the newest issue is younger, for example 5d."),
    ] = None,
    method: Annotated[
        str, typer.Option(help="Method: curve, deepcrop (the network), both.")
    ] = "curve",
    weights: Annotated[
        Path | None, typer.Option(help="Network: file of weights  [those of the package]")
    ] = None,
    no_radar: Annotated[
        bool, typer.Option("--no-radar", help="Network: do not read the radar.")
    ] = False,
    definition: Annotated[
        str | None, typer.Option(help="Network: what a date means, camera or ndvi  [camera]")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Network: device to run on, cpu or cuda  [cpu]")
    ] = None,
    index: Annotated[str | None, typer.Option(help="Curve: greenness index  [ndvi]")] = None,
    smoother: Annotated[str | None, typer.Option(help="Curve: smoother  [whittaker]")] = None,
    mask: Annotated[
        Path | None, typer.Option(help="Raster; map only where it has data other than 0.")
    ] = None,
    parcels: Annotated[
        Path | None, typer.Option(help="Polygons; map only inside, and give dates for each.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer of the file of parcels.")] = None,
    fields: Annotated[
        bool, typer.Option("--fields", help="Give dates for each field of the cube's field_id.")
    ] = False,
    archive: Annotated[
        str | None,
        typer.Option(help="File that describes your own archive, if the cube is from one."),
    ] = None,
    threads: Annotated[int, typer.Option(help="Number of scenes read in parallel.", min=1)] = 4,
) -> None:
    """Add new scenes of the archive to a cube, and map the tiles in which they have data.

    Nothing is written if the archive has nothing new. An interrupted run resumes where it stopped
    when the same command is given again.

    Example: deepcrop update solano.zarr --year 2018 --maps issues --every 5d
    """
    from deepcrop.fetch import update as updating
    from deepcrop.mapping.options import parse_until, resolve_options

    for library in ("rasterio", "odc"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    options = resolve_options(
        method,
        index=index,
        smoother=smoother,
        weights=weights,
        radar=False if no_radar else None,
        device=device,
        definition=definition,
        mask=mask,
        parcels=parcels,
        layer=layer,
        fields=fields,
    )
    done = updating.update(
        region,
        maps,
        year,
        options,
        until=parse_until(until),
        every=None if every is None else updating.parse_every(every),
        archive=archive,
        threads=threads,
    )
    _report(done, region, every)


def _report(done: Updated, region: Path, every: str | None) -> None:
    """Print what was added and mapped."""
    if done.added is None:
        typer.echo(f"not due: the newest issue, {done.latest}, is younger than {every}")
        return
    counts = Counter(f"{one.scene.sensor} {one.state}" for one in done.added.outcomes)
    words = ", ".join(f"{number} {state}" for state, number in counts.items())
    typer.echo(f"{region}: " + (words or ("up to date" if done.added.changed else "nothing new")))
    if done.issue is not None:
        manifest = done.issue.path / "manifest.jsonl"
        tiles = len(manifest.read_text().splitlines())
        typer.echo(
            f"issue {done.issue.path}: {tiles - done.taken_over} of {tiles} tiles mapped, "
            f"{done.taken_over} taken over from the issue before"
        )
    elif done.latest is not None:
        typer.echo(f"the newest issue is {done.latest}")
