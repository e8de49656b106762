"""Settings: every one is described; files and overrides are checked, and later values win."""

from __future__ import annotations

from pathlib import Path

import pytest

from dupmine.errors import SettingsError
from dupmine.settings import MiningSettings, load_settings
from dupmine.staged import parse_overrides


def problem(overrides: dict[str, object] | None = None, config: Path | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(config, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


NUMBER = "should be a valid number, not "
ONES = f"{[1] * 40!s:.80}"


def test_every_setting_is_described() -> None:
    for stage, model in MiningSettings.stages().items():
        for name, field in model.model_fields.items():
            assert field.description, f"{stage}.{name}"


def test_setting_names_stand_in_one_stage() -> None:
    names = [name for model in MiningSettings.stages().values() for name in model.model_fields]
    assert sorted(names) == sorted(set(names))
    assert not set(names) & set(MiningSettings.stages())


def test_yaml_is_read_back(tmp_path: Path) -> None:
    settings = load_settings(overrides={"keep": "a b: c:asc", "nlist": 4, "floor": 1e-3, "text_column": "né"})
    path = tmp_path / "my.yaml"
    path.write_text(settings.to_yaml(), encoding="utf-8")
    assert load_settings(path) == settings


def test_file_may_be_partial_or_empty(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("")
    assert load_settings(path) == MiningSettings()
    path.write_text("rerank:\nretrieval:\n  max_k: 3\n")
    assert load_settings(str(path)) == load_settings(overrides={"retrieval.max_k": 3})


def test_overrides_win_and_take_stages_and_bare_keys(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("retrieval: {nlist: 1, max_k: 11, floor: 0.1}\n")
    settings = load_settings(path, {"retrieval": {"nlist": 2, "floor": 0.2}, "floor": 0.3})
    assert (settings.retrieval.nlist, settings.retrieval.max_k, settings.retrieval.floor) == (2, 11, 0.3)


def test_changed_keeps_the_rest() -> None:
    first = load_settings(overrides={"retrieval": {"max_k": 2, "floor": 0.2}})
    second = first.changed({"retrieval": {"max_k": 3}, "rerank.threshold": 0.9})
    assert second == load_settings(overrides={"max_k": 3, "floor": 0.2, "threshold": 0.9})
    assert first.retrieval.max_k == 2


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"tresholds": 1}, "unknown setting tresholds: did you mean rerank.threshold?"),
        ({"retreival.max_k": 1}, "unknown setting retreival: did you mean retrieval?"),
        ({"retrieval.top_k": 50}, "unknown setting retrieval.top_k: "),
        ({"rerank.max_k": 1}, "unknown setting rerank.max_k: did you mean retrieval.max_k?"),
        ({"zzz": 1}, "unknown setting zzz: known are corpus, retrieval, rerank, "),
        ({"threshold": 2}, "setting rerank.threshold: should be less than or equal to 1, not 2"),
        ({"threshold": float("nan")}, "setting rerank.threshold: should be a finite number, not nan"),
        ({"score_max": float("inf")}, "setting rerank.score_max: should be a finite number, not inf"),
        ({"max_k": 0}, "setting retrieval.max_k: should be greater than or equal to 1, not 0"),
        ({"max_k": "many"}, "setting retrieval.max_k: should be a valid integer, "),
        ({"head": "relu"}, "setting rerank.head: should be 'auto', 'sigmoid', 'softmax', 'nli' or 'score', "),
        ({"device": "gpu"}, "setting compute.device: should be auto, cpu, mps, cuda or cuda:N, not 'gpu'"),
        ({"retrieval": 5}, "setting retrieval is a stage: give it a mapping of settings, not 5"),
        (
            {"max_k": 0, "floor": 3},
            "setting retrieval.max_k: should be greater than or equal to 1, not 0; setting retrieval.floor: ",
        ),
    ],
)
def test_mistakes_are_named(overrides: dict[str, object], expected: str) -> None:
    assert problem(overrides).startswith(expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"retrieval:\n  maxk: 3\n", "unknown setting retrieval.maxk: did you mean retrieval.max_k?"),
        (b"rerank: {threshold: high}\n", "setting rerank.threshold: should be a valid number, "),
        (b"rerank: [1, 2]\n", "expected stages (corpus, retrieval, rerank, clustering, compute, output, "),
        (b"threshold: 0.5\n", "expected stages (corpus, retrieval, rerank, "),
        (b"- 1\n", "expected stages (corpus, retrieval, rerank, "),
        (b"rerank: {threshold: 0.5\n", "not valid YAML: while parsing a flow mapping "),
        (b"\xff\xfe", "not valid YAML: "),
        (b"rerank: {threshold: 2026-13-45}", "not valid YAML: month must be in 1..12"),
        (b"retrieval: {max_k: " + b"9" * 5000 + b"}", "not valid YAML: Exceeds the limit (4300 digits)"),
        (b"[" * 20_000, "not valid YAML: maximum recursion depth exceeded"),
        (
            b"rerank: &a {threshold: 0.5}\nretrieval: *a\n",
            "not valid YAML: aliases (*name) are not read; write the value itself in ",
        ),
        (b"rerank: {threshold: [" + b"1, " * 500 + b"]}", f"setting rerank.threshold: {NUMBER}{ONES}"),
        (b"rerank: {" + b"x" * 1000 + b": 1}", f"unknown setting rerank.{'x' * 73}: known are corpus."),
    ],
)
def test_mistakes_in_a_file_name_it(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_bytes(content)
    assert problem(config=path).startswith(f"{path}: {expected}")
    assert len(problem(config=path)) < 3000  # which names all settings


def test_a_few_lines_that_stand_for_a_billion_values(tmp_path: Path) -> None:
    """They took memory without bound, or printed megabytes."""
    path = tmp_path / "my.yaml"
    lines = ["a: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"b{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    path.write_text("\n".join([*lines, "rerank: {threshold: *a8}"]))
    assert problem(config=path).startswith(f"{path}: not valid YAML: aliases (*name) are not read; ")


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    assert problem(config=path) == f"{path}: cannot read the config file: No such file or directory"


def test_parse_overrides_reads_yaml_values() -> None:
    texts = ["rerank.threshold=0.7", "nlist=null", "corpus.text_column=a=b", "symmetric = true", "keep=x:asc"]
    assert parse_overrides(texts) == {
        "rerank.threshold": 0.7,
        "nlist": None,
        "corpus.text_column": "a=b",
        "symmetric": True,
        "keep": "x:asc",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rerank.threshold", "--set 'rerank.threshold': expected stage.key=value, as rerank.threshold=0.7"),
        ("keep={", "--set 'keep={': the value is not valid YAML"),
    ],
)
def test_parse_overrides_names_mistakes(text: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_overrides([text])
    assert str(caught.value) == expected


def test_off_is_a_string_though_yaml_reads_a_boolean(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("rerank:\n  bands: off\n")
    for settings in (
        load_settings(path),
        load_settings(overrides=parse_overrides(["bands=off"])),
    ):
        assert settings.rerank.bands == "off"
        path.write_text(settings.to_yaml())
        assert load_settings(path) == settings
    assert "should be 'auto' or 'off', not True" in problem({"rerank.bands": True})
