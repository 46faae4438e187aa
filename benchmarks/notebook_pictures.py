"""Run a notebook page; save its figures as docs/assets/PAGE_K.png, K being the number of the cell.

    python benchmarks/notebook_pictures.py docs/notebooks/first_map.md docs/assets

The page shows them below the cells that draw them; pages that fetch from archives are left out.
"""

import ast
import os
import re
import sys
import tempfile
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

matplotlib.use("Agg")


def run(cell: str, space: dict) -> list[Figure]:
    """Run a cell; return the figures that a notebook would show below it."""
    body = ast.parse(cell)
    last = None
    if isinstance(body.body[-1], ast.Expr):
        expression = ast.Expression(body.body.pop().value)
        exec(compile(body, "cell", "exec"), space)
        last = eval(compile(expression, "cell", "eval"), space)
    else:
        exec(compile(body, "cell", "exec"), space)
    shown = [plt.figure(number) for number in plt.get_fignums()]
    return [last] if isinstance(last, Figure) else shown


def main() -> None:
    page, assets = (Path(word).resolve() for word in sys.argv[1:])
    cells = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    space: dict = {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for k, cell in enumerate(cells, 1):
            for figure in run(cell, space):
                figure.savefig(assets / f"{page.stem}_{k}.png", dpi=90, bbox_inches="tight")
                print(f"{page.stem}_{k}.png: {cell.splitlines()[-1]}")
            plt.close("all")


if __name__ == "__main__":
    main()
