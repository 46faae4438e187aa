"""What commands print of texts that come from files of others."""

import pytest
from rich.table import Table

from deepcrop.cli.options import plain_console


@pytest.mark.parametrize("title", ["[red]maize", "[/]", "wheat [/bold]", ":smile:", "[link=x]a"])
def test_titles_and_names_are_no_markup(title, capsys):
    table = Table(title=title)
    table.add_column(title)
    table.add_row(title)
    plain_console().print(table)
    assert capsys.readouterr().out.count(title) == 3
