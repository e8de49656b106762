"""The questions of labelled pairs, and the connected components that they form."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..schema import LabelledPairs, Rows
from .unique import normalised_key

Questions = npt.NDArray[np.int64]


def number_questions(pairs: LabelledPairs) -> Questions:
    """Return the number of each question, `(2, n_pairs)`: row 0 of the left ones, row 1 of the right ones.

    Two questions are the same if their ids are equal, where there are ids, or their normalised texts.
    """
    keys, _ = pd.factorize(np.array([normalised_key(text) for text in (*pairs.left, *pairs.right)], object))
    if pairs.left_id is None or pairs.right_id is None:
        return np.asarray(keys, np.int64).reshape(2, -1)
    ids, _ = pd.factorize(np.array([*pairs.left_id, *pairs.right_id], object))
    known = np.array([name != "" for name in (*pairs.left_id, *pairs.right_id)], bool)
    first = int(keys.max(initial=-1)) + 1
    nodes = first + int(ids.max(initial=-1)) + 1
    same = number_components(nodes, keys, np.where(known, first + ids, keys))
    return np.asarray(same[keys], np.int64).reshape(2, -1)


def distinct_texts(pairs: LabelledPairs) -> tuple[list[str], Rows, Rows]:
    """Return the distinct texts of pairs, and the row among them of each left and each right text."""
    rows, texts = pd.factorize(np.array([*pairs.left, *pairs.right], object))
    left, right = np.asarray(rows, np.int64).reshape(2, -1)
    return list(texts), left, right


def question_components(pairs: LabelledPairs) -> Rows:
    """Return the number of each pair's connected component, `(n_pairs,)`: a shared question joins pairs."""
    questions = number_questions(pairs)
    return np.asarray(number_components(int(questions.max()) + 1, *questions)[questions[0]], np.int64)


def number_components(nodes: int, left: Rows, right: Rows) -> Rows:
    """Return the connected component of each node of a graph, from the two ends of its edges."""
    edges = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(nodes, nodes))
    return np.asarray(connected_components(edges, directed=False)[1], np.int64)
