"""Kinds of index: the lists they have and visit, the recall they state, and what FAISS refuses."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import Any

import faiss
import numpy as np
import pytest
import torch

from dupmine.errors import SettingsError
from dupmine.progress import SILENT
from dupmine.retrieval import index
from dupmine.retrieval.candidates import find_candidates
from dupmine.retrieval.encoder import Embeddings
from dupmine.retrieval.index import Index, flat_index, needs_halves, train_index
from dupmine.settings import RetrievalSettings, load_settings

from ..helpers.vectors import Pairs, as_dict, brute_force, random_vectors

CPU = torch.device("cpu")


def options(**values: Any) -> RetrievalSettings:
    return RetrievalSettings.model_validate({"index": "ivf", **values})


def search(embeddings: Embeddings, settings: RetrievalSettings) -> tuple[Pairs, dict[str, Any]]:
    pairs, facts = find_candidates(embeddings, settings, CPU, SILENT)
    return as_dict(pairs), facts.description


@pytest.mark.parametrize("nprobe", [1, 3, 30])
def test_the_recall_stated_is_the_true_recall(nprobe: int) -> None:
    embeddings = random_vectors(900)
    found, description = search(embeddings, options(nlist=30, nprobe=nprobe, floor=0.5))
    expected = brute_force(embeddings, 0.5)
    assert found.items() <= expected.items()
    assert description == {
        "kind": "ivf",
        "nlist": 30,
        "nprobe": nprobe,
        "recall": pytest.approx(len(found) / len(expected), abs=6e-5),
    }
    assert (description["recall"] < 0.9) == (nprobe < 30)


def test_nprobe_is_what_the_target_needs() -> None:
    embeddings = random_vectors(900)
    chosen = search(embeddings, options(nlist=60, floor=0.4, target_recall=0.9))[1]
    assert 0.88 <= chosen["recall"] < 0.93
    before = search(embeddings, options(nlist=60, floor=0.4, nprobe=chosen["nprobe"] - 2))[1]
    assert before["recall"] < 0.9
    found, everything = search(embeddings, options(nlist=60, floor=0.4, target_recall=1.0))
    assert (everything["nprobe"], everything["recall"]) == (60, 1.0)
    assert found == brute_force(embeddings, 0.4)


@pytest.mark.parametrize(
    "kind", ["IVF30,Flat", "OPQ8_16,IVF30,SQ8", "IVF30,PQ8x4fs,RFlat", "IVF30_HNSW8,Flat"]
)
def test_factory_strings_with_lists_choose_nprobe_too(kind: str) -> None:
    embeddings = random_vectors(900)
    found, description = search(embeddings, options(index=kind, floor=0.5, target_recall=0.9))
    expected = brute_force(embeddings, 0.5)
    assert found.items() <= expected.items()
    assert (description["kind"], description["nlist"]) == (kind, 30)
    assert 5 < description["nprobe"] < 30
    assert description["recall"] == pytest.approx(len(found) / len(expected), abs=6e-5)
    assert description["recall"] > 0.84


def test_a_low_recall_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        recall = search(random_vectors(900), options(nlist=30, nprobe=1, floor=0.5))[1]["recall"]
        assert recall < 0.9
        advice = "raise retrieval.nprobe (now 1)"
        assert caplog.messages == [f"recall is {recall:.3f} against exact search; {advice}"]
        caplog.clear()
        search(random_vectors(900), options(nlist=30, nprobe=30, floor=0.5))
        assert caplog.messages == []
        recall = search(random_vectors(900), options(index="PQ4x4", floor=0.5))[1]["recall"]
        assert caplog.messages == [f"recall is {recall:.3f} against exact search; use another index"]


def test_nothing_above_the_floor_leaves_nothing_to_miss() -> None:
    found, description = search(np.eye(16, dtype=np.float16), options(nlist=4, floor=0.9))
    assert (found, description) == ({}, {"kind": "ivf", "nlist": 4, "nprobe": 1, "recall": 1.0})


def test_the_number_of_lists() -> None:
    assert search(random_vectors(900), options(nprobe=1))[1]["nlist"] == 2 * 30
    few = search(random_vectors(5), options(nlist=100, nprobe=100))[1]
    assert (few["nlist"], few["nprobe"]) == (5, 5)


def test_the_same_pairs_every_time() -> None:
    embeddings = random_vectors(600)
    one, two = (search(embeddings, options(nprobe=2, floor=0.4)) for _ in "ab")
    assert one == two


def test_the_nearest() -> None:
    embeddings = random_vectors(300)
    flat = flat_index(16, CPU)
    flat.add(embeddings)
    cosines, positions = flat.nearest(embeddings, 7)
    vectors = embeddings.astype(np.float32)
    expected = np.argsort(-(vectors @ vectors.T), axis=1)[:, :7]
    assert positions.tolist() == expected.tolist()
    np.testing.assert_allclose(cosines, np.take_along_axis(vectors @ vectors.T, positions, axis=1), atol=1e-6)
    few = train_index("ivf", embeddings[:40], options(nlist=20, nprobe=1), CPU)
    few.add(embeddings[:40])
    assert (few.nearest(embeddings[:40], 39)[1][:, -1] == -1).all()


@pytest.mark.parametrize(
    ("kind", "n", "message"),
    [
        (
            "nonsense",
            40,
            r"FAISS cannot make 'nonsense' with inner products of 16 dimensions \(.+\): use auto, ",
        ),
        ("LSH", 40, r"FAISS cannot make 'LSH' with inner products of 16 dimensions \(.*METRIC_L2.*\): use"),
        ("PQ5", 300, r"FAISS cannot \w+ 'PQ5' .+: use auto"),
        (
            "IVF50,Flat",
            40,
            r"FAISS cannot train 'IVF50,Flat' on 40 texts of 16 dimensions \(.*50.*\): use auto",
        ),
        ("PQ4", 40, r"FAISS cannot train 'PQ4' on 40 texts of 16 dimensions \(.+\): use auto or flat"),
    ],
)
def test_what_faiss_refuses_is_one_line(kind: str, n: int, message: str) -> None:
    with pytest.raises(SettingsError, match=rf"^setting retrieval\.index: {message}[^\n]*$"):
        search(random_vectors(n), options(index=kind))


def test_lists_of_an_index_without_lists() -> None:
    with pytest.raises(SettingsError, match=r"^setting retrieval.nprobe: index 'HNSW8' has no lists: leave"):
        search(random_vectors(40), options(index="HNSW8", nprobe=3))
    message = "setting retrieval.nlist: index HNSW8 does not take it: use index=ivf, or a factory string as"
    with pytest.raises(SettingsError, match=message):
        load_settings(overrides={"index": "HNSW8", "nlist": 3})


def test_bytes_hold_an_index() -> None:
    trained = train_index("ivf", random_vectors(200), options(nlist=9, nprobe=4), CPU)
    trained.add(random_vectors(50))
    read = Index.from_bytes(trained.to_bytes(), "ivf", CPU)
    assert read.describe() == {"kind": "ivf", "nlist": 9, "nprobe": 4}
    assert len(read) == 50
    query = random_vectors(5, seed=2)
    assert read.nearest(query, 3)[1].tolist() == trained.nearest(query, 3)[1].tolist()


def test_a_gpu_without_a_build_for_it_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    if hasattr(faiss, "get_num_gpus") and faiss.get_num_gpus():
        pytest.skip("this build of FAISS has a GPU")
    embeddings = random_vectors(60)
    pairs, _ = find_candidates(embeddings, options(index="flat", floor=0.5), torch.device("cuda"), SILENT)
    assert as_dict(pairs) == brute_force(embeddings, 0.5)
    assert caplog.messages == [
        "this build of FAISS has no GPU support: the search runs on the CPU "
        "(pip uninstall faiss-cpu; pip install faiss-gpu)"
    ]


@pytest.mark.parametrize("kind", ["flat", "ivf"])
@pytest.mark.parametrize("most", [8, 2048])
@pytest.mark.parametrize("free", [1 << 10, 1 << 40])
def test_all_but_the_move_to_a_gpu(kind: str, most: int, free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The move is replaced, which a build for CPUs lacks: a copy without a range search answers."""

    class OnGpu:
        def __init__(self, moved: Any) -> None:
            self.moved = faiss.clone_index(moved)

        def search(self, queries: Any, k: int) -> Any:
            assert k <= most
            return self.moved.search(queries, k)

    moves: list[tuple[int, bool, list[int]]] = []

    def move(moved: Any, halves: bool, gpus: list[int]) -> OnGpu:
        moves.append((moved.ntotal, halves, gpus))
        return OnGpu(moved)

    monkeypatch.setattr(index, "_count_gpus", lambda: 2)
    monkeypatch.setattr(index, "_move", move)
    monkeypatch.setattr(index, "_clustering_index", lambda ivf, gpus: faiss.IndexFlatIP(ivf.d))
    monkeypatch.setattr(index, "_NEIGHBOURS", 4)
    monkeypatch.setattr(index, "_GPU_NEIGHBOURS", most)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, free))
    embeddings = np.concatenate([random_vectors(300), np.repeat(random_vectors(1, seed=1), 40, axis=0)])
    settings = options(index=kind, floor=0.5, target_recall=1.0)
    for device, gpus in (("cuda", [0, 1]), ("cuda:1", [1])):
        moves.clear()
        pairs, _ = find_candidates(embeddings, settings, torch.device(device), SILENT)
        assert as_dict(pairs) == brute_force(embeddings, 0.5)
        assert moves[-1] == (340, free == 1 << 10, gpus)
        assert len(moves) == (1 if kind == "flat" else 2)  # the sample's recall is measured on the GPU, too


def test_numbers_are_halved_where_they_would_fill_the_memory() -> None:
    assert needs_halves(1000, 7999)
    assert not needs_halves(1000, 8000)


@pytest.mark.parametrize(("set_before", "expected"), [(None, "SkylakeX"), ("Haswell", "Haswell")])
def test_faiss_takes_the_kernels_of_avx512(set_before: str | None, expected: str) -> None:
    capabilities = torch.cpu.get_capabilities()
    if not all(capabilities.get(f"avx512_{part}") for part in ("f", "bw", "cd", "dq", "vl")):
        pytest.skip("this processor has no AVX-512")
    code = (
        "import os, threadpoolctl; from dupmine.retrieval import index; "
        "print([p['architecture'] for p in threadpoolctl.threadpool_info() if 'faiss' in p['filepath'] "
        "and p['internal_api'] == 'openblas'], os.environ.get('OPENBLAS_CORETYPE'))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    if set_before:
        environment["OPENBLAS_CORETYPE"] = set_before
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    if shown.stdout.startswith("[]"):
        pytest.skip("FAISS is not built with OpenBLAS")
    assert shown.stdout.strip() == f"['{expected}'] {set_before}"
