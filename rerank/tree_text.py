"""Check LightGBM's text format before LightGBM reads it, which trusts every number in it.

LightGBM takes counts, children and features of a text for granted: wrong ones end the process, or never end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite

import numpy as np

from ..schema import Rows

_END = "end of trees\n"
_TREE = "Tree="
_STRANGE = re.compile(r"[^\n -~]")  # LightGBM ends lines at some of these, and the text at a zero
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_INTEGER = re.compile(r"-?[0-9]{1,9}")
_FIXED = {"version": "v4", "num_class": "1", "num_tree_per_iteration": "1", "label_index": "0"}
_OBJECTIVES = ("binary sigmoid:1", "cross_entropy")
_HEADER = (*_FIXED, "max_feature_idx", "objective", "feature_names", "feature_infos", "tree_sizes")
_BY_SPLIT_INTEGER = ("split_feature", "decision_type", "left_child", "right_child", "internal_count")
_BY_SPLIT_NUMBER = ("split_gain", "threshold", "internal_value", "internal_weight")
_KEYS = {
    "num_leaves", "num_cat", "is_linear", "shrinkage", "leaf_count", "leaf_value", "leaf_weight",
    *_BY_SPLIT_INTEGER, *_BY_SPLIT_NUMBER,
}  # fmt: skip
_NUMERICAL = (0, 2, 4, 6, 8, 10)  # decision types: a threshold, and what happens to a missing value


def check_trees(text: str, n_features: int) -> str:
    """Return the part of a text that describes the trees, once all of it is known to be sound.

    It has numerical splits only, of `n_features` features, and one output.

    Raises:
        ValueError: anything else; the message says what and in which tree.
    """
    head, end, _ = text.partition(_END)
    if _STRANGE.search(head):
        raise ValueError("it holds other characters than those of LightGBM's text")
    header, *trees = re.split(rf"^(?={_TREE})", head, flags=re.MULTILINE)
    if not end or not trees:
        raise ValueError("it is not LightGBM's text of trees")
    sizes = _check_header(header, n_features)
    if sizes != [len(tree.encode()) for tree in trees]:
        raise ValueError("tree_sizes are not those of the trees")
    for number, tree in enumerate(trees):
        try:
            _check_tree(tree, number, n_features)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"tree {number}: {error}") from None
    return head + end


def _check_header(header: str, n_features: int) -> list[int]:
    """Check what is before the first tree; return the sizes of the trees in bytes."""
    first, *lines = header.rstrip("\n").split("\n")
    values = _read_lines(lines)
    if first != "tree" or tuple(values) != _HEADER:
        raise ValueError("its header is not that of a LightGBM model")
    expected = _FIXED | {"max_feature_idx": str(n_features - 1)}
    for name, value in expected.items():
        if values[name] != value:
            raise ValueError(f"{name} is {values[name]:.40}, not {value}")
    if values["objective"] not in _OBJECTIVES:
        raise ValueError(f"objective is {values['objective']:.40}, not one of {', '.join(_OBJECTIVES)}")
    for name in ("feature_names", "feature_infos"):
        if len(values[name].split(" ")) != n_features:
            raise ValueError(f"{name} is not a list of {n_features}")
    return [int(size) for size in _integers(values["tree_sizes"])]


def _check_tree(tree: str, number: int, n_features: int) -> None:
    first, *lines = tree.rstrip("\n").split("\n")
    values = _read_lines(lines)
    if first != f"{_TREE}{number}" or set(values) != _KEYS:
        raise ValueError("it has other fields than those of a tree of numerical splits")
    n_leaves = int(_integers(values["num_leaves"], 1)[0])
    if n_leaves < 1 or values["num_cat"] != "0" or values["is_linear"] != "0":
        raise ValueError("it is not a tree of numerical splits")
    splits = {name: _integers(values[name], n_leaves - 1) for name in _BY_SPLIT_INTEGER}
    _integers(values["leaf_count"], n_leaves)
    _check_numbers(values, _BY_SPLIT_NUMBER, n_leaves - 1)
    _check_numbers(values, ("leaf_value",), n_leaves)
    _check_numbers(values, ("leaf_weight",), n_leaves if n_leaves > 1 else 0)
    _check_numbers(values, ("shrinkage",), 1)
    if not np.isin(splits["split_feature"], np.arange(n_features)).all():
        raise ValueError("a split is on a feature that does not exist")
    if not np.isin(splits["decision_type"], _NUMERICAL).all():
        raise ValueError("a split is not numerical")
    _check_children(splits["left_child"], splits["right_child"], n_leaves)


def _check_children(left: Rows, right: Rows, n_leaves: int) -> None:
    """Check that each split and leaf has one parent, and a split one with a lower number: then it is a tree.

    A leaf i is the child -1 - i.
    """
    children = np.concatenate([left, right])
    expected = np.concatenate([np.arange(-n_leaves, 0), np.arange(1, n_leaves - 1)])
    if n_leaves > 1 and not np.array_equal(np.sort(children), expected):
        raise ValueError("a split or leaf has no parent, or several")
    parents = np.tile(np.arange(n_leaves - 1), 2)
    if ((children >= 0) & (children <= parents)).any():
        raise ValueError("its splits form a cycle")


def _read_lines(lines: Sequence[str]) -> dict[str, str]:
    values = {name: value for name, _, value in (line.partition("=") for line in lines)}
    if len(values) != len(lines):
        raise ValueError("a field is there twice")
    return values


def _integers(text: str, n: int | None = None) -> Rows:
    tokens = text.split(" ") if text else []
    if not all(map(_INTEGER.fullmatch, tokens)) or n not in (None, len(tokens)):
        raise ValueError("a field is not a list of as many integers as there are splits or leaves")
    return np.array(tokens, np.int64)


def _check_numbers(values: dict[str, str], names: Sequence[str], n: int) -> None:
    for name in names:
        tokens = values[name].split(" ") if values[name] else []
        if len(tokens) != n or not all(
            _NUMBER.fullmatch(token) and isfinite(float(token)) for token in tokens
        ):
            raise ValueError(f"{name} is not a list of {n} numbers")
