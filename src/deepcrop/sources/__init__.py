"""Satellite archives, field cameras and crop maps, read in the units of the observation cube."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepcrop.sources.archive import Archive

ARCHIVES = ("pc", "cdse", "earth-search", "earth-search-v0", "hls", "hls-nasa", "ee")
"""The known satellite archives: Planetary Computer, the Copernicus Data Space, Earth Search
(collection 1 and the older one), HLS of Planetary Computer and of NASA, and Google Earth Engine."""


def is_own(name: str) -> bool:
    """Whether the name of an archive is that of a YAML file which describes it."""
    return name.endswith((".yaml", ".yml"))


def describe_archive(name: str) -> Any:
    """Describe an archive for the record of a request: its name, or all that its file says."""
    if not is_own(name):
        return name
    from deepcrop.sources.stac.own_archive import read_description

    return {"file": name.replace("\\", "/").rpartition("/")[2]} | read_description(name).model_dump(
        mode="json"
    )


def pixel_size(name: str) -> float:
    """Return the size of an archive's pixels, metres, which is that of the grids to fetch.

    Examples
    --------
    >>> pixel_size("pc"), pixel_size("hls")
    (10.0, 30.0)
    """
    if is_own(name):
        from deepcrop.sources.stac.own_archive import read_description

        return float(read_description(name).pixel)
    return 30.0 if name in ("hls", "hls-nasa") else 10.0


def open_archive(
    name: str,
    *,
    orbits: str | int = "best",
    max_cloud: float = 90.0,
    keep: tuple[int, ...] | None = None,
    nir: str = "B08",
    cloud_buffer: float = 0.0,
    cloud_probability: float | None = None,
) -> Archive:
    """Open the archive of this name.

    Parameters
    ----------
    name : str
        One of `ARCHIVES`, or the path of a YAML file (``docs/fetch.md``).
    orbits : str or int
        Relative orbits of the radar: ``"best"`` (covers most of the area), ``"all"`` or a number.
    max_cloud : float
        Maximum cloud cover of an optical product, percent.
    keep : tuple of int, optional
        Scene classes of Sentinel-2 to keep; by default the archive's own mask.
    nir : str
        Band of Sentinel-2 read as near infrared: ``"B08"`` (10 m), or ``"B07"`` (20 m), which
        the paper's Table 1 names.
    cloud_buffer : float
        Distance from cloud and shadow up to which pixels are masked, too, metres.
    cloud_probability : float, optional
        Greatest probability of cloud of a pixel that is kept, percent; by default the archive's
        own rule.

    Raises
    ------
    ArchiveError
        If there is no such archive, band or mask, or it cannot be used.
    """
    # Imported here: the command line imports this package for `--help`, which must not load numpy.
    from deepcrop.cube.contract import NIR_BANDS
    from deepcrop.grid.buffers import LARGEST_BUFFER
    from deepcrop.sources.archive import ArchiveError
    from deepcrop.sources.earthengine import archive as earthengine
    from deepcrop.sources.stac import known_archives
    from deepcrop.sources.stac.own_archive import own_archive

    archives: dict[str, Callable[..., Archive]] = {
        "pc": known_archives.planetary_computer,
        "cdse": known_archives.copernicus,
        "earth-search": known_archives.earth_search,
        "earth-search-v0": known_archives.earth_search_legacy,
        "hls": known_archives.hls,
        "hls-nasa": known_archives.hls_nasa,
        "ee": earthengine.EarthEngine,
    }
    if is_own(name):
        archives[name] = partial(own_archive, name)
    if name not in archives:
        raise ArchiveError(
            f"Archive {name!r} is unknown; expected one of {', '.join(ARCHIVES)}, or a YAML file "
            "that describes your own."
        )
    if nir not in NIR_BANDS:
        raise ArchiveError(f"Near infrared {nir!r}; expected {' or '.join(NIR_BANDS)}.")
    if not 0 <= cloud_buffer <= LARGEST_BUFFER:
        raise ArchiveError(
            f"A buffer of {cloud_buffer:g} m around clouds; expected 0 to {LARGEST_BUFFER:g} m."
        )
    if cloud_probability is not None and not 0 <= cloud_probability < 100:
        raise ArchiveError(
            f"A probability of cloud of {cloud_probability:g} %; expected 0 to less than 100."
        )
    mask: dict[str, Any] = {} if keep is None else {"keep": keep}
    if name == "ee":
        if keep is not None and cloud_probability is not None:
            raise ArchiveError(
                "Earth Engine (ee) masks by Cloud Score+ (--cloud-probability) or by scene classes "
                "(--keep): give one of the two."
            )
        if cloud_probability is not None:
            mask["clear"] = 1 - cloud_probability / 100
    else:
        mask["cloud_probability"] = cloud_probability
    return archives[name](
        orbits=orbits, max_cloud=max_cloud, nir=nir, cloud_buffer=cloud_buffer, **mask
    )
