"""A language model teaches: a real one, and none at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kdgym.evaluation import evaluate

SMALL: dict[str, Any] = {"steps": 2, "budget": 64.0, "validation_items": 8}
IDS = ["kdgym/DataGen-Math-v0", "kdgym/DataGen-Math-OpenEnded-v0"]
CONTROL = dict(zip(IDS, ["uniform", "random_real"], strict=True))


def teach(env_id: str, port: int, transcript: Path) -> tuple[Any, list[dict[str, Any]]]:
    options = {"base_url": f"http://127.0.0.1:{port}/v1", "model": "smollm2", "transcript": str(transcript)}
    result = evaluate(env_id, "llm", episodes=2, options=options, **SMALL)
    return result, [json.loads(line) for line in transcript.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("env_id", IDS)
def test_without_an_endpoint_it_teaches_as_the_control_and_says_so(env_id: str, tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="lessons are the control's"):
        result, records = teach(env_id, 9, tmp_path / "transcript.jsonl")
    assert [record["fallback"] for record in records] == [True] * 4
    assert (result.after == evaluate(env_id, CONTROL[env_id], episodes=2, **SMALL).after).all()
    assert (result.cost["teacher"]["tokens"] == 0).all()


@pytest.mark.llm
@pytest.mark.parametrize("env_id", IDS)
def test_a_real_model_teaches(env_id: str, server: int, tmp_path: Path) -> None:
    result, records = teach(env_id, server, tmp_path / "transcript.jsonl")
    tokens = sum(record["prompt_tokens"] + record["completion_tokens"] for record in records)
    assert len(records) == 4
    assert not all(record["fallback"] for record in records)
    assert result.cost["teacher"]["tokens"].sum() == tokens > 0
