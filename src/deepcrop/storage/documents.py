"""Read JSON and YAML that others wrote: bounded in size, and only what the format means."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from deepcrop.errors import MALFORMED

if TYPE_CHECKING:
    from pathlib import Path

LARGEST_YAML = 500_000
"""Characters of the longest YAML file that is read."""

_MOST_VALUES = 20_000  # values in a YAML file, with every alias written out
_DEEPEST = 50  # levels of nested lists and mappings


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises
    ------
    ValueError
        If it is not JSON, or is nested too deeply.

    Examples
    --------
    >>> parse_json('{"year": 2018}')
    {'year': 2018}
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_yaml(path: Path) -> Any:
    """Read a YAML file.

    Aliases are allowed, but not so often that a short file becomes a huge structure. A key that
    occurs twice is an error, since YAML would keep the last one silently.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not YAML, or is too large or nested too deeply; the message says where.
    """
    text = path.read_text(encoding="utf-8-sig")
    if len(text) > LARGEST_YAML:
        raise ValueError(f"it is longer than {LARGEST_YAML // 1000} kB")
    loader = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _check_tree(root)
        return loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        raise ValueError(_where(error.problem_mark) + str(error.problem)) from None
    except yaml.YAMLError as error:  # characters that YAML does not allow
        raise ValueError(str(error).splitlines()[0]) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    finally:
        if loader is not None:
            loader.dispose()


class _Loader(yaml.SafeLoader):
    """Loader that says where a value stands that cannot be converted, such as 2018-13-45."""

    def fetch_flow_collection_start(self, token: Any) -> None:
        """Begin a list or mapping in brackets; PyYAML takes the square of their depth in time."""
        if self.flow_level >= _DEEPEST:
            problem = f"more than {_DEEPEST} levels of nesting"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.get_mark())
        super().fetch_flow_collection_start(token)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Read a value; no more of them than `_MOST_VALUES`, which PyYAML takes seconds for."""
        self._values = getattr(self, "_values", 0) + 1
        if self._values > _MOST_VALUES:
            problem = f"more than {_MOST_VALUES} values"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.get_mark())
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Make the value of a node."""
        try:
            return super().construct_object(node, deep)
        except RecursionError:
            raise
        except MALFORMED as error:
            problem = f"{str(node.value)[:60]!r} cannot be read ({error})"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None


def _check_tree(root: yaml.Node) -> None:
    """Raise ValueError for a tree that is too large or too deep once its aliases are followed."""
    known: dict[int, tuple[int, int]] = {}  # values in a node, and levels below it
    open_nodes: set[int] = set()

    def measure(node: yaml.Node) -> tuple[int, int]:
        if id(node) in known:
            return known[id(node)]
        if id(node) in open_nodes:
            raise ValueError(_where(node.start_mark) + "a value contains itself")
        open_nodes.add(id(node))
        below = [measure(child) for child in _children(node)]
        open_nodes.remove(id(node))
        count = 1 + sum(values for values, _ in below)
        levels = 1 + max((levels for _, levels in below), default=0)
        if count > _MOST_VALUES or levels > _DEEPEST:
            raise ValueError(
                f"{_where(node.start_mark)}more than {_MOST_VALUES} values, counting each alias as "
                f"what it stands for, or more than {_DEEPEST} levels of nesting"
            )
        known[id(node)] = count, levels
        return known[id(node)]

    measure(root)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if not isinstance(node, yaml.MappingNode):
        return []
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in seen:
                raise ValueError(f"{_where(key.start_mark)}the key '{key.value}' occurs twice")
            seen.add((key.tag, key.value))
    return [child for pair in node.value for child in pair]


def _where(mark: yaml.Mark | None) -> str:
    return "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
