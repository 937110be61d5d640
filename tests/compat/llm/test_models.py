"""Models in kdgym's cache, and models in this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kdgym.cli import app
from kdgym.llm.models import add, directory, prepared, resolve
from tests.compat.llm.conftest import ENVIRONMENT, STARTING

LIGHT = """
import sys
import kdgym
heavy = {"openai", "transformers", "vllm", "xgrammar", "gguf"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KDGYM_CACHE", str(tmp_path))
    return tmp_path


def test_names_resolve_to_directories_and_hub_ids_pass(cache: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "config.json").write_text("{}")
    assert resolve(str(own)) == str(own)
    assert resolve("somebody/something") == "somebody/something"
    with pytest.raises(ValueError, match="kdgym models add smollm2"):
        resolve("smollm2")


def test_a_directory_left_by_a_stopped_conversion_is_no_model(cache: Path) -> None:
    (cache / "models" / ".smollm2.abc" / "model").mkdir(parents=True)
    directory("smollm2").mkdir(parents=True)
    assert prepared() == []


def test_unknown_models_are_refused(cache: Path) -> None:
    with pytest.raises(ValueError, match="There is no packaged model 'gpt'; there are: smollm2"):
        add("gpt")


def test_the_command_lists_what_can_be_had(cache: Path) -> None:
    done = CliRunner().invoke(app, ["models", "list"])
    assert done.exit_code == 0
    assert "smollm2" in done.output


def test_importing_kdgym_imports_no_language_model() -> None:
    subprocess.run([sys.executable, "-c", LIGHT], check=True)


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed here")
def test_without_vllm_it_is_said_how_to_install_it() -> None:
    from kdgym.llm.local import VLLM

    with pytest.raises(ValueError, match=r"pip install 'kdgym\[vllm\]'"):
        VLLM("smollm2")


def test_the_packaged_model_is_prepared_once_and_answers_under_a_schema() -> None:
    """In process, without the hub."""
    from kdgym.llm.local import Transformers

    path = os.environ.get("KDGYM_TEST_MODEL") or str(add("smollm2"))
    assert (Path(path) / "chat_template.jinja").is_file()
    assert "quantization_config" not in json.loads((Path(path) / "config.json").read_text())
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
    asked = [[{"role": "user", "content": text}] for text in ("Say two numbers.", "Say the numbers 7 and 8, please.")]
    chat = Transformers(path)
    together, alone = chat.answer(asked, schema, 32), [chat.answer([one], schema, 32)[0] for one in asked]
    assert [answer.error for answer in together] == ["", ""]
    assert all(len(json.loads(answer.text)) == 2 for answer in together)
    assert [a.text for a in together] == [a.text for a in alone]
    assert [a.prompt_tokens for a in together] == [a.prompt_tokens for a in alone]
    (cut,) = chat.answer(asked[:1], max_tokens=2)
    assert "ended early" in cut.error


def test_vllm_in_process_answers_as_transformers_does(model: str, tmp_path: Path) -> None:
    """Both beside kdgym, in one process. Greedy, float32, without and with a schema: at least 95 % of the answers agree."""
    script, file = Path(__file__).with_name("in_process.py"), tmp_path / "answers.json"
    command = [sys.executable, str(script), model, str(file)]
    done = subprocess.run(
        command,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | ENVIRONMENT,
        timeout=STARTING,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    for served, expected in json.loads(file.read_text()):
        assert [a["prompt_tokens"] for a in served] == [a["prompt_tokens"] for a in expected]
        assert len({a["text"] for a in served}) > 20
        same = [(a["text"], a["error"]) == (b["text"], b["error"]) for a, b in zip(served, expected, strict=True)]
        assert sum(same) >= 38
