"""Read the table of crops grown at each camera, site by site and year by year."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from deepcrop.errors import DeepCropError

if TYPE_CHECKING:
    from pathlib import Path


def read_crops(path: Path) -> dict[tuple[str, int], str]:
    """Crop by site and year, from a CSV with the columns site, year and ct.

    Where several rows name a crop for a site-year they are joined in the order of the alphabet
    (``corn/soybean``); ``other`` and ``unknown`` give way to a name, ``soybeans`` is ``soybean``.

    Raises
    ------
    DeepCropError
        If the file cannot be read or is no such table.
    """
    names: dict[tuple[str, int], list[str]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            missing = {"site", "year", "ct"} - set(table.fieldnames or ())
            if missing:
                raise DeepCropError(
                    f"{path}: no column {', '.join(sorted(missing))}; expected a CSV with the "
                    "columns site, year, ct."
                )
            for row in table:
                try:
                    key = row["site"], int(row["year"])
                except (TypeError, ValueError):
                    raise DeepCropError(
                        f"{path}, line {table.line_num}: year is '{row['year']}', expected a whole "
                        "number."
                    ) from None
                crop = "soybean" if row["ct"] == "soybeans" else row["ct"]
                if crop and crop not in names.setdefault(key, []):
                    names[key].append(crop)
    except OSError as error:
        raise DeepCropError(f"{path}: {error.strerror}; expected a crop table.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DeepCropError(f"{path} is no CSV table: {error}.") from None
    vague = {"other", "unknown"}
    return {
        key: "/".join(sorted(crop for crop in found if crop not in vague) or found[:1])
        for key, found in names.items()
    }
