"""Finding a model's folder, and one clear line where there is none."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import huggingface_hub.constants as hub
import pytest

from dupmine.errors import ModelError
from dupmine.inference import locate
from dupmine.inference.locate import fingerprint, locate_model, read_config

UNREACHABLE = (
    r"^model some/model: there is no such folder, and the hub could not be reached \(\w+\); check the "
    r"network, or give a folder or a built-in model \(all-MiniLM-L6-v2 as bi-encoder, quora-minilm-l6 as "
    r"cross-encoder\)$"
)


def test_built_in_models_are_folders_with_weights() -> None:
    for name in ("all-MiniLM-L6-v2", "quora-minilm-l6"):
        assert (locate_model(name) / "model.safetensors").stat().st_size > 10_000_000


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[]")
    assert locate_model(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "~nobody-here/model", "a b", "a/b/c"])
def test_a_missing_folder(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        locate_model(name)
    problem = "there is no such folder, and it is not a hub name (owner/model)"
    assert str(caught.value) == f"model {name}: {problem}"


@pytest.mark.parametrize("name", ["a--b", "x..y", "x" * 300])
def test_a_name_the_hub_does_not_take(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        locate_model(name)
    assert (
        str(caught.value) == f"model {name}: it is neither a local folder nor a model on the Hugging Face hub"
    )


@pytest.mark.parametrize("is_file", [False, True])
def test_a_path_without_a_model(tmp_path: Path, is_file: bool) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no model")
    name = str(path if is_file else tmp_path)
    with pytest.raises(ModelError) as caught:
        locate_model(name)
    problem = f"{name} holds no model (neither config.json nor modules.json)"
    assert str(caught.value) == f"model {name}: {problem}"


def test_a_hub_model_offline() -> None:
    assert hub.HF_HUB_OFFLINE
    with pytest.raises(ModelError, match=UNREACHABLE):
        locate_model("some/model")


@pytest.mark.parametrize("answers", ["refuses", "is silent"])
def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answers: str) -> None:
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(locate, "_HUB_SECONDS", 0.5)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if answers == "is silent":
            server.listen()
        monkeypatch.setattr(hub, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(ModelError, match=UNREACHABLE):
            locate_model("some/model")
        assert time.monotonic() - start < 5


def test_read_config(tmp_path: Path) -> None:
    assert read_config(tmp_path) == {}
    (tmp_path / "config.json").write_text('{"num_labels": 2}')
    assert read_config(tmp_path) == {"num_labels": 2}
    (tmp_path / "config.json").write_text('{"num_labels": ')
    with pytest.raises(ModelError, match=r"^model .*: config\.json cannot be read \(Expecting value.*\)$"):
        read_config(tmp_path)


def test_fingerprint_goes_by_names_and_contents(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        (folder / "1_Pooling").mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "1_Pooling" / "config.json").write_text("[]")
        (folder / "README.md").write_text(folder.name)
    assert fingerprint(one) == fingerprint(two)
    (two / "1_Pooling" / "config.json").write_text("{}")
    assert fingerprint(one) != fingerprint(two)
    (one / "1_Pooling").rename(one / "2_Pooling")
    (two / "1_Pooling" / "config.json").write_text("[]")
    assert fingerprint(one) != fingerprint(two)
