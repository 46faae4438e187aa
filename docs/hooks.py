"""Hooks of mkdocs: equations, the command reference, tables of layers, notebooks.

Equations become MathML when the pages are built, so that no script and no font is loaded. The
command reference is generated from the commands, the tables of layers from
`deepcrop.products.layers`, so that neither can differ from the program. Each notebook page is
offered as a Jupyter notebook.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from deepcrop.cli import app
from deepcrop.products import layers

YEAR = 2018


def on_files(files: Files, config: Any) -> Files:
    """Add pages and notebooks that are made, not written."""
    files.append(File.generated(config, "commands.md", content=_commands()))
    for page in list(files.documentation_pages()):
        if page.src_uri.startswith("notebooks/"):
            name = page.src_uri.replace(".md", ".ipynb")
            text = Path(str(page.abs_src_path)).read_text(encoding="utf-8")
            files.append(File.generated(config, name, content=notebook(text)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Put in tables of layers, and the link to the notebook."""
    if page.file.src_uri.startswith("notebooks/"):
        name = Path(page.file.src_uri).with_suffix(".ipynb").name
        head, _, rest = markdown.partition("\n\n")
        return f"{head}\n\n[Download as Jupyter notebook]({name}){{ download }}\n\n{rest}"
    markdown = re.sub(r"<!-- layers: (\w+) -->", lambda match: _layers(match[1]), markdown)
    markdown = markdown.replace("<!-- measures -->", _measures())
    markdown = markdown.replace("<!-- flags -->", _flags())
    # Files of the repository are no pages; where it is read as a repository, the links work.
    return re.sub(r"\[([^\]]*)\]\(\.\./([^)]*)\)", r"`\2`", markdown)


def on_page_content(html_text: str, **_: Any) -> str:
    """Turn equations into MathML."""
    return re.sub(
        r'<(span|div) class="arithmatex">(.*?)</\1>',
        lambda match: _mathml(match[2], match[1] == "div"),
        html_text,
        flags=re.S,
    )


def _mathml(text: str, block: bool) -> str:
    latex = html.unescape(text).strip()
    latex = re.sub(r"^\\[(\[]|\\[)\]]$", "", latex)
    made = convert(latex, display="block" if block else "inline")
    return f'<div class="equation">{made}</div>' if block else made


# Commands ----------------------------------------------------------------------------------------


def _commands() -> str:
    group = typer.main.get_command(app)
    parts = [
        "# Commands",
        "Each is a thin layer over a function of the same arguments ([Python](python.md)). What "
        "`deepcrop COMMAND --help` prints, in one place.",
    ]
    for name, command in sorted(group.commands.items()):  # type: ignore[attr-defined]
        parts += [f"## deepcrop {name}", *_help(command.help or "")]
        rows = list(_parameters(command))
        if rows:
            table = ["| | | default |", "|---|---|---|", *rows]
            parts.append("\n".join(table))
    return "\n\n".join(parts) + "\n"


def _help(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        words = " ".join(paragraph.split())
        example = re.match(r"(.*?:) (deepcrop .*)", words)
        yield f"{example[1]}\n\n```bash\n{example[2]}\n```" if example else words


def _parameters(command: Any) -> Iterator[str]:
    for one in command.params:
        if one.name == "help":
            continue
        argument = one.param_type_name == "argument"
        name = str(one.name).upper() if argument else ", ".join(one.opts)
        words = (one.help or "").replace("|", "\\|")
        default, shown = one.default, re.search(r"\s*\[(.*)\]$", words)
        if shown:
            words, value = words[: shown.start()], shown[1]
        elif one.required:
            value = "required"
        else:
            value = "" if default in (None, False) or callable(default) else f"`{default}`"
        yield f"| `{name}` | {words} | {value} |"


# Layers ------------------------------------------------------------------------------------------


def _layers(method: str) -> str:
    rows = ["| file | content | unit | type | no data |", "|---|---|---|---|---|"]
    for layer in layers.describe(method, YEAR):
        nodata = "" if layer.nodata is None else layer.nodata
        unit = layer.unit.replace(str(YEAR), "YEAR")
        title = layer.title.replace(str(YEAR), "YEAR")
        rows.append(f"| `{layer.name}.tif` | {title} | {unit} | {layer.dtype} | {nodata} |")
    return "\n".join(rows)


def _measures() -> str:
    """Tabulate the measures of the main season."""
    rows = ["| file | content | unit | scale | type | no data |", "|---|---|---|--:|---|---|"]
    for layer in layers.describe("curve", YEAR, layers.Content(measures=True)):
        if layer.kind == "measure" and layer.season == 1:
            rows.append(
                f"| `{layer.name}.tif` | {layer.title} | {layer.unit} | {layer.scale:g} | "
                f"{layer.dtype} | {layer.nodata} |"
            )
    return "\n".join(rows)


def _flags() -> str:
    rows = ["| bit | meaning |", "|--:|---|"]
    return "\n".join([*rows, *(f"| {bit} | {words} |" for bit, words in layers.FLAGS.items())])


# Notebooks ---------------------------------------------------------------------------------------


def notebook(text: str) -> str:
    """Return a page of Markdown as a Jupyter notebook: its Python blocks become cells.

    The text block below one is its output. Pictures are left out: the cells draw them.
    """
    text = re.sub(r"!\[[^\]]*\]\(\.\./assets/[^)]*\)\n.*\n\n?", "", text)  # with its caption
    parts = re.split(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", text, flags=re.S)
    cells: list[dict[str, Any]] = []
    for k, part in enumerate(parts):
        if k % 3 == 0 and part.strip():
            cells.append({"cell_type": "markdown", "source": part.strip()})
        elif k % 3 == 1:
            output = parts[k + 1]
            shown = [{"output_type": "stream", "name": "stdout", "text": output}] if output else []
            cell = {"cell_type": "code", "source": part.strip(), "outputs": shown}
            cells.append(cell | {"execution_count": None})
    cells = [cell | {"id": f"cell{k}", "metadata": {}} for k, cell in enumerate(cells)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"
