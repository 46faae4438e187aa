"""Open an archive that the user describes: any STAC API that serves GeoTIFF or JPEG 2000.

The description is a short YAML file (``docs/fetch.md``): the address, the collections, which assets
are the bands, what their numbers mean, and which pixels are clear.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deepcrop.cube.contract import CLEAR_CLASSES
from deepcrop.errors import DeepCropError
from deepcrop.sources.sentinel2 import ScalingRule, scaling_by_raster_bands, scaling_of
from deepcrop.sources.stac.access import Access, BearerToken, OpenAccess
from deepcrop.sources.stac.archive import StacArchive
from deepcrop.sources.stac.optical import CLOUD, Mask
from deepcrop.storage.documents import parse_yaml

_FORMATS = {"GeoTIFF": "GTiff", "JPEG2000": "JP2OpenJPEG"}
_LIMITS = {"uint8": (0, 255), "uint16": (0, 65535), "int16": (-32768, 32767)}

Byte = Annotated[int, Field(ge=0, le=255)]
Name = Annotated[str, Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Assets(_Section):
    """Names of the assets: four bands, a mask (``scl`` or ``mask``), and probability of cloud."""

    blue: Name
    green: Name
    red: Name
    nir: Name
    scl: Name | None = None
    mask: Name | None = None
    cloud: Name | None = None


class Description(_Section):
    """Keys of the file."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$")]
    collections: Annotated[tuple[Name, ...], Field(min_length=1)]
    assets: Assets
    scale: Annotated[float, Field(gt=0, le=1)] | Literal["item"]
    offset: Annotated[float, Field(ge=-1, le=1)] | None = None
    type: Literal["uint8", "uint16", "int16"] = "uint16"
    nodata: int = 0
    clear: tuple[Byte, ...] = ()
    masked_bits: tuple[Annotated[int, Field(ge=0, le=7)], ...] = ()
    mask_nodata: Byte = 0
    pixel: Literal[10, 30] = 10
    format: Literal["GeoTIFF", "JPEG2000"] = "GeoTIFF"
    token: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    token_hosts: tuple[Name, ...] = ()
    credit: str = ""

    @model_validator(mode="after")
    def _fits_together(self) -> Description:
        if (self.assets.scl is None) == (self.assets.mask is None):
            raise ValueError("give one of assets.scl (scene classes of Sentinel-2) and assets.mask")
        if self.assets.scl is not None and self.masked_bits:
            raise ValueError("scene classes (assets.scl) have no bits; give 'clear', or neither")
        if self.assets.mask is not None and bool(self.clear) == bool(self.masked_bits):
            raise ValueError("with assets.mask, give one of 'clear' and 'masked_bits'")
        if self.scale == "item" and self.offset is not None:
            raise ValueError("'scale: item' takes the offset from each item, too; leave it out")
        if self.scale != "item" and self.offset is None:
            raise ValueError("'offset' is missing: reflectance = number * scale + offset")
        low, high = _LIMITS[self.type]
        if not low <= self.nodata <= high:
            raise ValueError(f"'nodata' is {self.nodata}, which no {self.type} holds")
        return self


def read_description(path: str | Path) -> Description:
    """Read and check the description of an archive.

    Raises
    ------
    DeepCropError
        If the file cannot be read, a key is unknown or missing, or a value cannot be used.
    """
    try:
        content = parse_yaml(Path(path))
        return Description.model_validate(content)
    except OSError as error:
        raise DeepCropError(
            f"{path}: {error.strerror}; expected the description of an archive (docs/fetch.md)."
        ) from None
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc'])) or 'file'}: "
            f"{problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors()[:5]
        ]
        raise DeepCropError(
            f"{path} does not describe an archive: {'; '.join(problems)}. docs/fetch.md has the "
            "keys."
        ) from None
    except ValueError as error:
        raise DeepCropError(f"{path} is not valid YAML: {error}.") from None


def own_archive(path: str | Path, **options: Any) -> StacArchive:
    """Open the archive that a YAML file describes.

    Parameters
    ----------
    path : str or Path
        The file.
    **options
        ``max_cloud``, ``keep``, ``tries`` and ``pause`` of `StacArchive`.

    Raises
    ------
    DeepCropError
        If the file is no such description.
    """
    stated = read_description(path)
    host = urlsplit(stated.url).netloc
    name = Path(path).name
    access: Access = OpenAccess()
    if stated.token is not None:
        access = BearerToken(stated.token, (host, *stated.token_hosts), name)
    scaling: ScalingRule = scaling_by_raster_bands
    if stated.scale != "item":
        offset = stated.offset or 0.0
        steps = f"{offset / stated.scale:g} applied" if offset else "none to apply"
        scaling = scaling_of(stated.scale, offset, f"{steps} ({name})")
    classes = stated.clear or (CLEAR_CLASSES if stated.assets.scl is not None else ())
    mask_asset = "scl" if stated.assets.scl is not None else "mask"
    named = {key: (value,) for key, value in stated.assets if value is not None and key != CLOUD}
    return StacArchive(
        name,
        host,
        stated.url,
        {"optical": stated.collections},
        scaling,
        access=access,
        assets=named,
        pixels=(stated.type, stated.nodata),
        mask=Mask(mask_asset, stated.mask_nodata, classes, stated.masked_bits),
        probability=stated.assets.cloud or "",
        resolution=float(stated.pixel),
        credit=stated.credit or f"images of {host}",
        format=_FORMATS[stated.format],
        without_radar="The file describes optical images only: fetch them with --sensors optical.",
        **options,
    )
