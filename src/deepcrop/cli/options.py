"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what deepcrop wrote under this name before.")
]
