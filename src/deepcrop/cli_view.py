"""The command `deepcrop view`: a map in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepcrop.errors import DeepCropError


def view(
    result: Annotated[Path, typer.Argument(help="Directory made by 'deepcrop map'.")],
    cube: Annotated[
        Path | None,
        typer.Option(help="The cube that was mapped: pictures and time series  [none]"),
    ] = None,
    port: Annotated[int, typer.Option(help="Port of this machine.", min=1, max=65535)] = 8765,
) -> None:
    """Look at a map in the browser, on this machine alone.

    Example: deepcrop view demo/maps --cube demo/region.zarr
    """
    try:
        from deepcrop.viewer.server import serve
    except ImportError as error:
        raise DeepCropError(
            f"The viewer needs 'pip install deepcrop[viewer]' ({error})."
        ) from error
    serve(result, cube, port, lambda address: typer.echo(f"{address}  (Ctrl-C ends the viewer)"))
