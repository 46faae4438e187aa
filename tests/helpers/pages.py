"""The pages of the documentation, by their paths in the repository."""

from tests.helpers.workspace import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
)
