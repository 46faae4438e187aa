"""Season dates against known truth: python benchmarks/phenology.

Simulated series (`series.py`), deepcrop's smoothers and every peer that installs (`peers.py`), one
table. TIMESAT and vam.whittaker are installed into environments of their own in `--cache`.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
import tempfile
from pathlib import Path

import camera_shapes
import numpy as np
import peers
import tune
from scoring import on_common_seasons, score
from series import GROUPS, KINDS, simulate

from deepcrop.report.tables import Table

SEED = 2026
REFERENCE = "TIMESAT spline"
DATES = (0, 1, 3, 4)
"""Stages of the table: SOS20, SOS50, EOS50, EOS20."""

COLUMNS = (
    "scene",
    "tool",
    "pixels",
    "pixels/s, 1 thread",
    "pixels/s, 2 threads",
    "times TIMESAT, 1 / 2",
    "smoothing alone, pixels/s, 1 / 2",
    "memory, MB",
    "MAE SOS20 / SOS50 / EOS50 / EOS20, d",
    "MAE over seasons dated by TIMESAT too: tool; TIMESAT",
    "bias, d",
    "found: " + " / ".join(GROUPS) + ", %",
    "all four dates, %",
    "false, %",
    "90 % intervals cover, %",
    "median width, d",
)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks/phenology", description=__doc__)
    parser.add_argument("--pixels", type=int, default=20_000, help="per scene (default 20000)")
    parser.add_argument("--quick", action="store_true", help="1000 pixels, each tool timed once")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the simulation ({SEED})")
    parser.add_argument("--out", type=Path, help="write the table to this file too")
    parser.add_argument(
        "--scene",
        choices=(*KINDS, camera_shapes.KIND),
        action="append",
        help="only this (all; shapes of cameras need DEEPCROP_REAL_DATA)",
    )
    parser.add_argument("--no-peers", action="store_true", help="deepcrop only")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "deepcrop-benchmark",
        help="folder for the environments of the peers",
    )
    parser.add_argument(
        "--tune", action="store_true", help=f"rank settings of the peers on seed {tune.SEED}"
    )
    options = parser.parse_args(arguments)
    if options.tune:
        tune.main(options.cache, 600 if options.quick else 2000)
        return
    pixels = min(options.pixels, 1000) if options.quick else options.pixels
    repeats = 1 if options.quick else 3
    tools = peers.ours() + ([] if options.no_peers else peers.OTHERS)
    kinds = options.scene or (*KINDS, camera_shapes.KIND)
    table = report(kinds, tools, pixels, options.seed, repeats, options.cache)
    print(table)
    if options.out:
        options.out.write_text(table + "\n")


def report(kinds, tools, pixels: int, seed: int, repeats: int, cache: Path) -> str:
    """Run all tools on all scenes; return the table as Markdown."""
    versions, absent, rows = {}, {}, []
    for kind in kinds:
        if kind == camera_shapes.KIND:
            scene = camera_shapes.simulate(pixels, seed)
        else:
            scene = simulate(kind, pixels, seed)
        outcomes = {}
        for tool in tools:
            if tool.name in absent:
                continue
            print(f"{kind}: {tool.name}", file=sys.stderr)
            try:
                pair = [peers.run(tool, scene, threads, cache, repeats) for threads in (1, 2)]
            except RuntimeError as error:
                absent[tool.name] = str(error)
                continue
            outcomes[tool.name] = pair
            versions[tool.name.split()[0]] = pair[0].version
        reference = outcomes.get(REFERENCE)
        rows += [
            _row(scene, name, outcome, reference if name != REFERENCE else None)
            for name, outcome in outcomes.items()
        ]
    table = Table("Speed, memory and errors of each tool on simulated series", COLUMNS, rows)
    lines = ["# Season dates on SIMULATED series with known truth", "", _circumstances(seed), ""]
    lines += [", ".join(f"{name} {version}" for name, version in versions.items()) + ".", ""]
    lines += [table.to_markdown()]
    lines += [f"{name} was left out: {why}" for name, why in absent.items()]
    lines += [_NOTES]
    return "\n".join(lines)


def _row(scene, name, outcome, reference):
    one, two = outcome
    n = one.pixels
    result = score(scene.truth[:n], scene.group[:n], one.dates, one.low, one.high, len(GROUPS))
    speeds = [o.pixels / o.seconds for o in outcome]
    ratio = smoothing = common = "–"
    if reference:
        ratios = [s * r.seconds / r.pixels for s, r in zip(speeds, reference, strict=True)]
        ratio = " / ".join(f"{r:.3g}" for r in ratios)
        least = min(n, reference[0].pixels)
        pair = on_common_seasons(scene.truth[:least], one.dates[:least], reference[0].dates[:least])
        common = "; ".join(_numbers(errors[list(DATES)], ".2f") for errors in pair)
    if np.isfinite(one.smoothing):
        smoothing = f"{n / one.smoothing:,.0f} / {n / two.smoothing:,.0f}"
    cells = [scene.kind, name, f"{n:,}", *(f"{s:,.0f}" for s in speeds), ratio, smoothing]
    cells += [f"{one.memory:,.0f}"]
    cells += [_numbers(result.mae[list(DATES)], ".2f"), common]
    cells += [_numbers(result.bias[list(DATES)], "+.2f")]
    cells += [_numbers(100 * result.detected, ".1f")]
    cells += [f"{100 * result.complete:.1f}", f"{100 * result.false:.2f}"]
    cells += [_numbers(100 * result.coverage[list(DATES)], ".0f")]
    cells += [_numbers(result.width[list(DATES)], ".1f")]
    return cells


def _numbers(values, form):
    if not np.isfinite(values).any():
        return "–"
    return " / ".join(format(v, form) if np.isfinite(v) else "–" for v in values)


def _circumstances(seed):
    return (
        f"{datetime.date.today():%d %B %Y}, {_processor()}, {os.cpu_count()} cores, "
        f"{platform.system()}, Python {platform.python_version()}, seed {seed}; settings of the "
        f"peers were chosen on seed {tune.SEED}."
    )


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


_NOTES = """
- All series are simulated (`benchmarks/phenology/series.py`): three years of 219 dates, half of
  them cloudy; one year of 42 irregular dates, a third cloudy; a sparse year of about 25 clear
  dates. 6 % of the clear observations are lowered by something unflagged.
- Speed: best of the runs of one process, without loading and compiling, for the dates in the table.
  TIMESAT gives one fraction a call, so its dates at 20 % and 50 % take two calls; one call alone is
  about twice as fast. Tools that only smooth get their dates by a plain rule (`thresholds.py`), and
  on two threads two processes share the pixels.
- Memory: rise of the peak of a process of its own, input excluded, on one thread.
- Errors are over matched seasons: the middle of each of the two lies within the other."""


if __name__ == "__main__":
    main()
