"""Commands on networks: train, evaluate, reproduce.

PyTorch is imported when a command runs, so that the other commands work without it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from deepcrop.cli.options import archive_years
from deepcrop.errors import DeepCropError

# `train` ----------------------------------------------------------------------------------------


def train(
    config: Annotated[
        Path, typer.Argument(help="Experiment file, or name of a recipe, for example tiny.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for weights, logs, checkpoints.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of real data, where the experiment needs it.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="Folder of simulated data; experiments can share it  [OUT/simulated]"),
    ] = None,
    workers: Annotated[int, typer.Option(help="Number of processes that simulate.", min=1)] = 1,
    device: Annotated[str | None, typer.Option(help="cpu or cuda  [cuda where there is]")] = None,
    network: Annotated[
        str | None, typer.Option(help="Configuration to train instead of the experiment's.")
    ] = None,
) -> None:
    """Train a network from an experiment file or recipe.

    After an interruption the same command continues to the same result.

    Example: deepcrop train tiny --data DATA --out runs/tiny
    """
    import deepcrop.network  # noqa: F401  (first: says what to install where PyTorch is missing)
    from deepcrop.training.experiment import read_experiment
    from deepcrop.training.run_experiment import train as train_experiment

    read = read_experiment(config, network)
    weights = train_experiment(read, data, out, store or out / "simulated", workers, device)
    typer.echo(f"weights: {weights}")


# `evaluate` -------------------------------------------------------------------------------------


def evaluate(
    out: Annotated[Path, typer.Option(help="Folder for tables and figures.")],
    weights: Annotated[
        Path | None, typer.Option(help="Weights, .safetensors  [those of the package]")
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Samples, .npz, such as 'deepcrop reproduce' makes.")
    ] = None,
    all_sites: Annotated[
        bool,
        typer.Option(
            "--all-sites", help="Score the samples of all sites, not only of the test sites."
        ),
    ] = False,
    real: Annotated[
        bool, typer.Option("--real", help="Score on real satellite images instead; needs --data.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option(help="With --real: folder of real data (docs/real.md).")
    ] = None,
    without_radar: Annotated[
        Path | None,
        typer.Option(help="With --real: weights trained without radar, for comparison."),
    ] = None,
    horizons: Annotated[
        bool,
        typer.Option(
            "--horizons",
            help="Score dates in season, by days before and after the event (docs/in_season.md).",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="With --real: replace an existing --out.")
    ] = False,
) -> None:
    """Score weights against camera dates, or on real satellite images.

    Example: deepcrop evaluate --samples reproduced/samples_field.npz --out scores
    """
    if real == (samples is not None):
        raise DeepCropError("Give one of --samples SET.npz and --real.")
    if real and data is None:
        raise DeepCropError("--real needs --data, the folder of real data.")
    if real and all_sites:
        raise DeepCropError("--all-sites is for --samples; --real scores all that it has.")
    only_real = {"--data": data, "--without-radar": without_radar, "--overwrite": overwrite}
    if not real and (given := [name for name, value in only_real.items() if value]):
        raise DeepCropError(f"{', '.join(given)}: only with --real. Leave it out, or add --real.")
    only_full = {"--all-sites": all_sites, "--without-radar": without_radar,
                 "--overwrite": overwrite}  # fmt: skip
    if horizons and (given := [name for name, value in only_full.items() if value]):
        raise DeepCropError(f"{', '.join(given)}: not with --horizons. Leave it out.")
    import deepcrop.network  # noqa: F401  (first: says what to install where PyTorch is missing)

    if horizons:
        _evaluate_horizons(weights, samples, data, out)
        return
    if data is not None and real:
        from deepcrop.studies import real_satellites as real_archives

        real_archives.report(data, weights, out, without_radar, overwrite=overwrite)
        typer.echo(f"tables and figures: {out}/")
        return
    assert samples is not None
    from deepcrop.evaluation.weights_report import evaluate as run
    from deepcrop.network.weights import shipped

    _print(run(weights or shipped(), samples, out, all_sites))


def _evaluate_horizons(
    weights: Path | None, samples: Path | None, data: Path | None, out: Path
) -> None:
    from deepcrop.network.weights import shipped

    if samples is not None:
        from deepcrop.evaluation.horizon_report import evaluate_horizons

        typer.echo(f"tables and figure: {evaluate_horizons(weights or shipped(), samples, out)}")
    elif data is not None:
        from deepcrop.studies import real_horizons

        real_horizons.report(data, weights, out)
        typer.echo(f"tables and figures: {out}/")


# `reproduce` ------------------------------------------------------------------------------------


def reproduce(
    data: Annotated[
        Path, typer.Option(help="Folder with phenocam/series; real cubes are fetched into it.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for samples, weights, tables and figures.")],
    archive: Annotated[
        str, typer.Option(help="Source of the pixels: simulated, pc, cdse or ee.")
    ] = "simulated",
    methods: Annotated[
        str | None,
        typer.Option(help="Networks to train, separated by commas  [default and its ablations]"),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of trainings of each network.", min=1)] = 5,
    repeats: Annotated[
        int, typer.Option(help="Number of simulations of each site-year.", min=1)
    ] = 1,
    folds: Annotated[
        int | None,
        typer.Option(help="Also leave each of N groups of site clusters out in turn  [none]"),
    ] = None,
    workers: Annotated[int, typer.Option(help="Number of processes that simulate.", min=1)] = 1,
    start: Annotated[
        Path | None,
        typer.Option(
            help="Weights to start from, trained on simulated tiles alone; {method} in the path "
            "stands for the method's name  [none]"
        ),
    ] = None,
    sites: Annotated[
        str | None,
        typer.Option(
            help="PhenoCam sites: names with commas, or a file of names  [simulated: all in DATA; "
            "archives: paper, the paper's 60]"
        ),
    ] = None,
    years: Annotated[
        str | None,
        typer.Option(
            help="Target years: 2018, 2017-2020  [simulated: all; archives: the paper's, 2017-2020]"
        ),
    ] = None,
    sensors: Annotated[
        str, typer.Option(help="What to fetch: optical, or optical,sar.")
    ] = "optical,sar",
    threads: Annotated[int, typer.Option(help="Number of scenes read in parallel.", min=1)] = 4,
    nir: Annotated[
        str, typer.Option(help="Band read as near infrared: B08, or B07 of the paper's Table 1.")
    ] = "B08",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Only list the scenes and estimate size, requests and time by site."
        ),
    ] = False,
) -> None:
    """Run the paper's experiment: train on cameras, test on five others, make the tables.

    An interrupted run resumes where it stopped when the same command is given again. More methods
    or seeds are added to what is there.

    Example: deepcrop reproduce --archive simulated --data DATA --out reproduced --seeds 5
    """
    import deepcrop.network  # noqa: F401  (first: says what to install where PyTorch is missing)
    from deepcrop.studies.paper_experiment import estimate_fetch
    from deepcrop.studies.paper_experiment import reproduce as run
    from deepcrop.studies.paper_settings import METHODS, PaperExperiment

    # These libraries log every retried request; what fails for good is named at the end.
    for library in ("rasterio", "odc"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    chosen = METHODS if methods is None else _names(methods)
    experiment = PaperExperiment(
        archive, data, out, chosen, seeds, repeats, folds, workers, start,
        sites=sites,
        years=None if years is None else archive_years(years),
        sensors=_names(sensors),
        threads=threads,
        nir=nir,
    )  # fmt: skip
    if dry_run:
        typer.echo(estimate_fetch(experiment))
        return
    _print(run(experiment))


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _print(report: Path) -> None:
    """Show the main table, and where the rest is."""
    table = report.parent / "tables" / "methods.md"
    typer.echo(table.read_text(encoding="utf-8"))
    typer.echo(f"all tables and figures: {report}")
