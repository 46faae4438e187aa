"""The command line: thin commands over typed functions.

What a command needs is imported when it runs, so that ``deepcrop --help`` answers at once.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated, TextIO

import typer

from deepcrop._version import __version__
from deepcrop.cli import cameras, cubes, demonstration, maps, networks, radar, updates
from deepcrop.errors import DeepCropError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="When crops greened up and when they died down, field by field.",
    rich_markup_mode=None,
)


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


for _command in (
    cubes.simulate,
    cubes.ingest,
    maps.map_,
    maps.points,
    maps.score,
    cameras.gcc,
    cameras.labels,
    cubes.fetch,
    updates.update,
    radar.safe,
    cubes.doctor,
    maps.report,
    networks.train,
    networks.evaluate,
    networks.reproduce,
    maps.view,
    demonstration.demo,
):
    app.command(_command.__name__.rstrip("_"))(_command)


def _show_messages() -> None:
    """Print what the library logs to stderr, as plain lines."""
    logger = logging.getLogger("deepcrop")
    if not logger.handlers:  # main() may run several times in one process
        logger.addHandler(_StderrHandler())
        logger.setLevel(logging.INFO)
    # rasterio logs each write that a full disk refuses; the exception says it once.
    logging.getLogger("rasterio").addHandler(logging.NullHandler())


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the ``sys.stderr`` of the moment: a progress bar, or a test, replaces it."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        pass


def main() -> None:
    """Run the command line; an error of ours is a message, not a traceback."""
    _show_messages()
    try:
        app()
    except DeepCropError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # a full disk, a folder that may not be written
        # GDAL's errors have neither a file name nor an error text of the system.
        said = f"Error: {error.filename or 'file system'}: {error.strerror or error}"
        print(said, *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        sys.exit(2)
    except SystemError as error:
        from deepcrop.storage.progress import is_interruption

        if not is_interruption(error):
            raise
        sys.exit(130)  # as Typer answers any other Ctrl-C
