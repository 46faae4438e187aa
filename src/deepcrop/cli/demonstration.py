"""The command demo: simulate a region, map it by both methods, compare with the truth."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepcrop.cli.options import print_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deepcrop.simulation import Region

YEAR = 2018

STEPS = {
    "simulate a region of 4 x 3 km": 50,
    "map it by the NDVI curve and by the network": 130,
    "compare the maps with the truth": 10,
}
"""What the demo does, and the seconds it takes on two free cores, kernels compiled anew."""

WHY = (
    "Why NDVI is late against a camera: a camera looks along the rows and sees colour, so the "
    "first leaves hide the soil early and yellowing counts at once, while NDVI from above follows "
    "leaf area, which fills later and stays as the leaves pale."
)

CAVEAT = (
    "The network was trained on camera dates, and on simulated pixels like these: on real images "
    "its lead is smaller, and on some crops it is behind (docs/real.md)."
)


def demo(
    out: Annotated[Path, typer.Option(help="Directory to write into.")] = Path("demo"),
) -> None:
    """Simulate a region, map it by both methods, and compare with the truth.

    Example: deepcrop demo --out demo
    """
    from deepcrop.simulation import Region

    make_demo(out, Region(year=YEAR))


def make_demo(out: Path, region: Region) -> None:
    """Do what the command does, with a region of any size."""
    import deepcrop.network  # noqa: F401  (says what to install, before the minutes of work)
    from deepcrop.evaluation import map_comparison, map_truth
    from deepcrop.mapping.region import map_region
    from deepcrop.simulation import simulate
    from deepcrop.storage.files import atomic_file

    out.mkdir(parents=True, exist_ok=True)
    cube, maps = out / "region.zarr", out / "maps"
    steps = _steps()
    next(steps)
    simulate(region, cube, overwrite=True)
    next(steps)
    map_region(cube, region.year, maps, overwrite=True, method="both", pictures=False)
    next(steps)
    matched = map_comparison.score_methods(maps, cube)
    as_written = map_comparison.score_methods(maps, cube, match=False)
    for method, scores in matched.items():
        map_truth.write_scores(scores, out / f"accuracy_{method}.csv")
    table = map_comparison.comparison_table(matched, as_written, ("maize",))
    with atomic_file(out / "comparison.md") as file:
        file.write_text(table.to_markdown("SIMULATED DATA"), encoding="utf-8")
    picture = out / "comparison.png"
    map_comparison.draw_comparison(maps, cube, matched, as_written, picture)
    next(steps)
    print_table(table, "difference")
    typer.echo(
        f"""
{WHY}
{CAVEAT}

All of this is SIMULATED DATA with known truth.
  picture: truth, curve, network    {picture}
  accuracy by crop                  {out}/accuracy_curve.csv, accuracy_deepcrop.csv
  maps (COG, STAC)                  {maps}/curve/, {maps}/deepcrop/
  region (observations, truth)      {cube}

See it in the browser: deepcrop view {maps} --cube {cube}
Write a report of it:  deepcrop report {maps}"""
    )


def _steps() -> Iterator[None]:
    """Announce each step with the time left, which follows the pace of the steps before it."""
    begin, expected = time.monotonic(), 0
    for number, (words, seconds) in enumerate(STEPS.items(), 1):
        pace = (time.monotonic() - begin) / expected if expected else 1.0
        left = pace * (sum(STEPS.values()) - expected)
        typer.echo(f"Step {number} of {len(STEPS)}: {words} (about {_span(left)} left)", err=True)
        expected += seconds
        yield
    typer.echo(f"Done in {_span(time.monotonic() - begin)}.\n", err=True)
    yield


def _span(seconds: float) -> str:
    minutes, rest = divmod(max(round(seconds), 1), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
