"""Trees from a file: LightGBM sees no text that could end the process, and a changed file is noticed."""

from __future__ import annotations

import re
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from dupmine.errors import ModelError
from dupmine.inference.model_files import DECISION
from dupmine.rerank.decision import FEATURES, Decision
from dupmine.rerank.tree_text import check_trees
from dupmine.rerank.trees import load_trees

from ..helpers.decisions import feature, fitted_to

N = len(FEATURES)


@pytest.fixture(scope="module")
def decision() -> Decision:
    return fitted_to(lambda table: feature(table, "logit") > 0.5, n_tokens=30, floor=0.6)


@pytest.fixture(scope="module")
def text(decision: Decision) -> str:
    return decision.trees


def test_checked_trees_predict_what_the_whole_text_does(text: str) -> None:
    table = np.random.default_rng(1).random((200, N)).astype(np.float32)
    whole, checked = lightgbm.Booster(model_str=text), load_trees(text, N)
    for options in ({"raw_score": True}, {"pred_contrib": True}):
        np.testing.assert_array_equal(checked.predict(table, **options), whole.predict(table, **options))
    assert "parameters" in text
    assert "parameters" not in check_trees(text, N)


def test_trees_of_one_leaf(text: str) -> None:
    data = lightgbm.Dataset(np.zeros((50, 2)), np.arange(50) % 2)
    flat = lightgbm.train({"objective": "binary", "verbose": -1}, data, 2).model_to_string()
    np.testing.assert_array_equal(load_trees(flat, 2).predict(np.zeros((3, 2)), raw_score=True), np.zeros(3))


# Each ended the process, or did not end: a pattern, what replaces its first match, and the message.
HOSTILE = {
    "more leaves": (r"num_leaves=\d+", "num_leaves=4000", "tree 0: a field is not a list of as many"),
    "no leaves": (r"num_leaves=\d+", "num_leaves=0", "tree 0: it is not a tree of numerical splits"),
    "huge count": (r"num_leaves=\d+", "num_leaves=99999999999", "tree 0: a field is not a list of as many"),
    "cycle": (r"left_child=\S+", "left_child=0", "tree 0: a split or leaf has no parent, or several"),
    "far child": (r"left_child=\S+", "left_child=77", "tree 0: a split or leaf has no parent, or several"),
    "far leaf": (r"left_child=\S+", "left_child=-77", "tree 0: a split or leaf has no parent, or several"),
    "feature": (r"split_feature=\S+", "split_feature=9999", "tree 0: a split is on a feature that does not"),
    "categorical": (r"decision_type=\S+", "decision_type=1", "tree 0: a split is not numerical"),
    "linear": ("is_linear=0", "is_linear=1", "tree 0: it is not a tree of numerical splits"),
    "value": (r"leaf_value=\S+", "leaf_value=x", "tree 0: leaf_value is not a list of 4 numbers"),
    "not a number": (r"threshold=\S+", "threshold=nan", "tree 0: threshold is not a list of 3 numbers"),
    "no field": (r"threshold=.+\n", "", "tree 0: it has other fields than those of a tree"),
    "twice": (r"(threshold=.+\n)", r"\1\1", "tree 0: a field is there twice"),
    "features": (r"max_feature_idx=\d+", "max_feature_idx=99", f"max_feature_idx is 99, not {N - 1}"),
    "classes": ("num_class=1", "num_class=0", "num_class is 0, not 1"),
    "names": ("feature_names=logit ", "feature_names=", f"feature_names is not a list of {N}"),
    "objective": (r"objective=.+\n", "objective=custom\n", "objective is custom, not one of binary"),
    "sizes": (r"tree_sizes=\d+", "tree_sizes=9", "tree_sizes are not those of the trees"),
    "zero": ("feature_names=logit", "feature_names=\0", "it holds other characters than those of"),
    "empty": (r"(?s).+", "", "it is not LightGBM's text of trees"),
    "no end": ("end of trees\n", "", "it is not LightGBM's text of trees"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_trees_never_reach_lightgbm(case: str, text: str) -> None:
    pattern, by, message = HOSTILE[case]
    hostile = re.sub(pattern, by, text, count=1)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        load_trees(hostile if case == "sizes" else _with_sizes(hostile), N)


def test_a_cycle_of_splits_with_one_parent_each(text: str) -> None:
    """Splits 1 and 2 are each other's child: every number is there once."""
    cyclic = re.sub(r"left_child=\S+ \S+ \S+", "left_child=-1 2 1", text, count=1)
    cyclic = re.sub(r"right_child=\S+ \S+ \S+", "right_child=-2 -3 -4", cyclic, count=1)
    with pytest.raises(ValueError, match=r"^tree 0: its splits form a cycle$"):
        load_trees(_with_sizes(cyclic), N)


def _with_sizes(text: str) -> str:
    """Correct the sizes, as whoever writes hostile trees would."""
    trees = re.split(r"^(?=Tree=)", text.partition("end of trees\n")[0], flags=re.MULTILINE)[1:]
    return re.sub(r"tree_sizes=[\d ]+", f"tree_sizes={' '.join(str(len(tree)) for tree in trees)}", text)


def test_a_changed_file_is_refused(decision: Decision, tmp_path: Path) -> None:
    decision.write(tmp_path)
    path = tmp_path / DECISION
    assert Decision.load(tmp_path) == decision
    path.write_text(path.read_text().replace('"floor": 0.6', '"floor": 0.7'))
    with pytest.raises(
        ModelError, match=r"is damaged \(its checksum does not match\): fit it again"
    ) as caught:
        Decision.load(tmp_path)
    assert str(caught.value).startswith(f"{path} ")


def test_a_file_of_unknown_origin_is_validated(decision: Decision, tmp_path: Path) -> None:
    path = tmp_path / DECISION
    path.write_text(decision.model_dump_json())
    assert Decision.load(tmp_path) == decision
    path.write_text(decision.model_dump_json().replace("num_leaves=4", "num_leaves=9", 1))
    with pytest.raises(
        ModelError, match=r"cannot be read \(.*tree_sizes are not those|tree 0: a field is not"
    ):
        Decision.load(tmp_path)
