"""Command on Sentinel-1 products on disk: safe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepcrop.cli.options import Overwrite
from deepcrop.errors import DeepCropError

if TYPE_CHECKING:
    import xarray as xr


def safe(
    products: Annotated[
        list[Path], typer.Argument(help="Unpacked IW GRD High products, S1…_GRDH_….SAFE.")
    ],
    dem: Annotated[Path, typer.Option(help="Raster of heights that covers the area.")],
    out: Annotated[Path, typer.Option(help="Zarr store to write.")],
    area: Annotated[
        str | None,
        typer.Option(
            help="west,south,east,north in degrees, a GeoJSON file, ta1, ta1-counties or ta2."
        ),
    ] = None,
    cube: Annotated[
        Path | None,
        typer.Option(help="Cube without radar: the result has its grid and its other groups."),
    ] = None,
    orbits: Annotated[
        Path | None,
        typer.Option(help="Folder of orbit files, S1…_ORB_….EOF  [those of the annotations]"),
    ] = None,
    geoid: Annotated[
        float | None,
        typer.Option(
            help="Metres of the geoid above the WGS 84 ellipsoid; 0 if the heights of the DEM are "
            "above the ellipsoid  [from the DEM's reference system]"
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Calibrate and geocode Sentinel-1 GRD products on disk for the radar of a cube.

    Steps: orbit, thermal noise, border noise, sigma0, terrain-corrected geocoding, multi-look, dB.

    Example: deepcrop safe S1*.SAFE --area=-121.56,38.34,-121.54,38.36 --dem dem.tif --geoid=-30
    --out radar.zarr
    """
    from deepcrop.cube.contract import build, grid_of
    from deepcrop.cube.io import open_cube, save_cube
    from deepcrop.grid.areas import area_of
    from deepcrop.sources.safe.backscatter import read_products

    if (area is None) == (cube is None):
        raise DeepCropError("Give one of --area and --cube.")
    if out.exists() and not overwrite:
        raise DeepCropError(f"{out} exists. Choose another name, or add --overwrite.")
    groups: dict[str, xr.Dataset] = {}
    attrs: dict[str, Any] = {}
    if cube is not None:
        tree = open_cube(cube)
        if "sar" in tree.children:
            raise DeepCropError(f"{cube} has radar already; expected a cube without it.")
        box, attrs = grid_of(tree), {str(key): value for key, value in tree.attrs.items()}
        groups = {str(name): node.to_dataset() for name, node in tree.children.items()}
    else:
        box = area_of(str(area)).box
    files: list[Path] = []
    if orbits is not None and not (files := sorted(orbits.glob("*.EOF"))):
        raise DeepCropError(f"{orbits} holds no orbit files; expected S1…_ORB_….EOF.")
    sar = read_products(products, box, dem, files, geoid)
    save_cube(build(**groups, sar=sar, attrs=attrs), out, overwrite)
    typer.echo(
        f"{out}: {sar.sizes['time']} passes of {len(products)} products, {box.shape[1]} x "
        f"{box.shape[0]} pixels"
    )
    for name, note in zip(sar.attrs["products"], sar.attrs["noise_removal"], strict=True):
        typer.echo(f"  {name}: {note}")
