"""A finished map as one page to read."""

from deepcrop.report.map_report import report

__all__ = ["report"]
