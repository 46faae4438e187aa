"""Settings of the paper's experiment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deepcrop.cube.contract import NIR_BANDS
from deepcrop.errors import DeepCropError
from deepcrop.network import CONFIGS
from deepcrop.sources.archive import SENSORS
from deepcrop.sources.phenocam.service import PAPER_YEARS

METHODS = (
    "default", "optical-only", "radar-only", "cnn-only", "transformer-only", "no-fusion",
    "no-spatial-context", "snapped",
)  # fmt: skip
"""Networks that are trained unless others are named; the published ones take far longer."""

ARCHIVES = ("simulated", "pc", "cdse", "ee")


@dataclass(frozen=True)
class PaperExperiment:
    """Settings of the paper's experiment.

    Attributes
    ----------
    archive : str
        Where the pixels come from, one of `ARCHIVES`.
    data : Path
        Folder with ``phenocam/series``. Where pixels are real, cubes are in ``phenocam``, too, and
        missing series and cubes are fetched into it.
    out : Path
        Folder to write.
    methods : tuple of str
        Configurations of networks.
    seeds : int
        Number of trainings of each.
    repeats : int
        Number of simulations of each site-year.
    folds : int, optional
        Number of groups of clusters that are left out in turn; the number of clusters leaves one
        out at a time. The first of ``methods`` is trained anew for each.
    workers : int
        Processes that simulate.
    start : Path, optional
        Weights to start from that were trained on simulated tiles only
        (`deepcrop.training.run_experiment`). With ``{method}`` in its path each method has its own.
    sites : str, optional
        ``paper``, names with commas, or a file of names. By default all in ``data`` where pixels
        are simulated, else the paper's 60 (`deepcrop.cameras.paper_sites`).
    years : tuple of int, optional
        Target years; by default all where pixels are simulated, else the paper's.
    sensors : tuple of str
        What to fetch: ``optical``, with or without ``sar``.
    threads : int
        Scenes read at once.
    nir : str
        Band of Sentinel-2 that is read as near infrared: B08, or B07 as in the paper's Table 1.

    Raises
    ------
    DeepCropError
        If archive or method is unknown, or a number too small.
    """

    archive: str
    data: Path
    out: Path
    methods: tuple[str, ...] = METHODS
    seeds: int = 5
    repeats: int = 1
    folds: int | None = None
    workers: int = 1
    start: Path | None = None
    sites: str | None = None
    years: tuple[int, ...] | None = None
    sensors: tuple[str, ...] = SENSORS
    threads: int = 4
    nir: str = NIR_BANDS[0]

    def __post_init__(self) -> None:
        if self.archive not in ARCHIVES:
            raise DeepCropError(
                f"Archive {self.archive!r} cannot be used here; expected one of "
                f"{', '.join(ARCHIVES)}: others lack the radar that the experiment needs."
            )
        if "optical" not in self.sensors or not set(self.sensors) <= set(SENSORS):
            raise DeepCropError(
                f"Sensors {', '.join(self.sensors) or 'none'}; expected optical, or optical,sar: "
                "the NDVI curve needs optical images."
            )
        if self.nir != NIR_BANDS[0] and self.archive == "simulated":
            raise DeepCropError(
                f"Near infrared {self.nir}: simulated pixels have {NIR_BANDS[0]} only; name an "
                "archive, pc, cdse or ee."
            )
        if self.sites == "paper" and self.archive == "simulated":
            raise DeepCropError(
                "Sites 'paper' asks the PhenoCam service, which simulated pixels do not need; name "
                "sites, or none for all in the data folder."
            )
        if unknown := [name for name in self.methods if name not in CONFIGS]:
            raise DeepCropError(
                f"Methods {', '.join(unknown)} are unknown; expected some of {', '.join(CONFIGS)}."
            )
        if not self.methods or min(self.seeds, self.repeats) < 1:
            raise DeepCropError("At least one method, one seed and one repeat are needed.")
        if self.folds is not None and self.folds < 3:
            raise DeepCropError(
                f"{self.folds} folds: at least 3 are needed, one of which decides when to stop."
            )

    @property
    def target_years(self) -> tuple[int, ...] | None:
        """Target years; None: all."""
        if self.years is None and self.archive != "simulated":
            return tuple(PAPER_YEARS)
        return self.years

    def start_of(self, method: str) -> Path | None:
        """Return the weights that a method starts from; None: random weights."""
        return self.start and Path(str(self.start).replace("{method}", method))
