"""The command `deepcrop report`: a finished map as a page to read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepcrop.report import report as write


def report(
    result: Annotated[Path, typer.Argument(help="Directory made by 'deepcrop map'.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write  [RESULT/report]")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing report.")
    ] = False,
) -> None:
    """Write a finished map as one HTML page, with its figures as PNG and SVG.

    The page needs no network and no other file.

    Example: deepcrop report maps
    """
    page = write(result, out, overwrite)
    typer.echo(f"report: {page}\nfigures: {page.parent / 'figures'}/")
