"""Run the notebook pages of the documentation, and put what they print and draw on the page.

``python -m tests.helpers.notebooks`` renews outputs and pictures of all pages; the tests compare
the outputs. The page of the cameras reads a real camera's file and needs ``DEEPCROP_REAL_DATA``.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from tests.archive import phenocam
from tests.archive.server import Server
from tests.helpers.workspace import ROOT, archives

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = sorted((ROOT / "docs" / "notebooks").glob("*.md"))
PICTURES = ROOT / "docs" / "assets"
REAL_DATA = Path(os.environ.get("DEEPCROP_REAL_DATA", ROOT.parent / "shared" / "data"))

CELL = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<output>.*?)```\n)?", re.S)
"""A cell of a page, and the output that stands below it."""


def cells(path: Path) -> list[tuple[str, str | None]]:
    """Code of each cell, and the output that the page shows."""
    found = CELL.finditer(path.read_text(encoding="utf-8"))
    return [(cell["code"], cell["output"]) for cell in found]


def run(path: Path, folder: Path) -> list[str]:
    """Run the cells of a page in a folder; what each prints, and the value of its last line.

    Figures of cell number k are written to ``folder/figures/PAGE_k.png``. Objects that a notebook
    shows as figures or as HTML (those of matplotlib and xarray) have no output here.
    """
    space: dict[str, Any] = {}
    outputs = []
    figures = folder / "figures"
    figures.mkdir()
    with contextlib.chdir(folder), mpl.rc_context({"savefig.dpi": 80}):
        for number, (code, _) in enumerate(cells(path)):
            body = ast.parse(code).body
            last = body.pop() if isinstance(body[-1], ast.Expr) else None
            shown = io.StringIO()
            with contextlib.redirect_stdout(shown):
                exec(compile(ast.Module(body, []), str(path), "exec"), space)
                if last is not None:
                    value = eval(compile(ast.Expression(last.value), str(path), "eval"), space)
                    module = type(value).__module__.partition(".")[0]
                    if value is not None and module not in ("matplotlib", "xarray"):
                        print(repr(value).replace(str(folder), ""))
                    if isinstance(value, Figure):
                        value.savefig(figures / f"{path.stem}_{number}.png")
            outputs.append("\n".join(line.rstrip() for line in shown.getvalue().splitlines()))
            if plt.get_fignums():
                plt.savefig(figures / f"{path.stem}_{number}.png", bbox_inches="tight")
            plt.close("all")
    return outputs


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[dict[str, str], Path]]:
    """Archives on the loopback for the pages: their environment, and the folder ``DATA``.

    Where there is real data, the PhenoCam service has the series of the camera that a page reads.
    """
    folder.mkdir()
    with archives(folder) as (environment, data), Server() as server:
        camera = REAL_DATA.resolve() / "phenocam" / "series" / "mead1_AG_1000_3day.csv"
        if camera.is_file():
            series = folder / "real"
            series.mkdir()
            (series / camera.name).symlink_to(camera)
            environment = environment | {"DEEPCROP_PHENOCAM": phenocam.serve(server, series)}
        yield environment, data


def main() -> None:
    """Renew outputs and pictures of the pages named, or of all."""
    chosen = [page for page in PAGES if page.stem in sys.argv[1:] or not sys.argv[1:]]
    for page in chosen:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with served(folder / "archives") as found:
                os.environ |= found[0]
                work = folder / "work"
                work.mkdir()
                (work / "DATA").symlink_to(found[1])
                outputs = iter(run(page, work))
            text = page.read_text(encoding="utf-8")

            def with_output(cell: re.Match[str], outputs: Iterator[str] = outputs) -> str:
                output = next(outputs)
                below = f"\n```text\n{output.rstrip()}\n```\n" if output.strip() else ""
                return f"```python\n{cell['code']}```\n{below}"

            page.write_text(CELL.sub(with_output, text), encoding="utf-8")
            for picture in (work / "figures").iterdir():
                if f"assets/{picture.name}" in text:
                    (PICTURES / picture.name).write_bytes(picture.read_bytes())


if __name__ == "__main__":
    main()
