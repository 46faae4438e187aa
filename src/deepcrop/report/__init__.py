"""Write the report of a finished map: one HTML page with its figures."""

from deepcrop.report.map_report import report

__all__ = ["report"]
