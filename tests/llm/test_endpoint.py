"""An endpoint's faults are told in the answers, whatever they are; a real vLLM server stands behind them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from kdgym.llm.endpoint import Endpoint

if TYPE_CHECKING:
    from tests.llm.conftest import Proxy

SCHEMA = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
QUESTION = [{"role": "user", "content": "Say two numbers."}]


def endpoint(port: int, retries: int = 1, timeout: float = 60.0, **limits: float) -> Endpoint:
    return Endpoint(f"http://127.0.0.1:{port}/v1", "smollm2", retries=retries, timeout=timeout, **limits)  # type: ignore[arg-type]


def test_nobody_there() -> None:
    """Port 9 (discard) has no listener."""
    (answer,) = endpoint(9, retries=0).answer([QUESTION])
    assert answer.text == ""
    assert "Connection" in answer.error


def test_a_spent_token_budget_sends_nothing() -> None:
    (answer,) = endpoint(9, token_budget=0).answer([QUESTION])
    assert (answer.attempts, answer.error) == (0, "the token budget is spent")


@pytest.mark.llm
def test_answers_follow_the_schema(proxy: Proxy) -> None:
    answers = endpoint(proxy.port).answer([QUESTION] * 5, SCHEMA)
    assert [answer.error for answer in answers] == [""] * 5
    assert all(len(json.loads(answer.text)) == 2 and answer.prompt_tokens > 0 for answer in answers)


@pytest.mark.llm
@pytest.mark.parametrize("fault", ["reset", "429", "truncated"])
def test_a_passing_fault_is_retried(proxy: Proxy, fault: str) -> None:
    proxy.break_with(fault, failures=1)
    (answer,) = endpoint(proxy.port).answer([QUESTION], SCHEMA)
    assert (answer.error, answer.attempts, proxy.connections) == ("", 2, 2)


@pytest.mark.llm
@pytest.mark.parametrize(
    ("fault", "said"),
    [("reset", "Connection"), ("429", "429"), ("truncated", "Connection"), ("garbage", "no chat completion")],
)
def test_a_lasting_fault_is_told(proxy: Proxy, fault: str, said: str) -> None:
    proxy.break_with(fault)
    (answer,) = endpoint(proxy.port).answer([QUESTION], SCHEMA)
    assert said in answer.error


@pytest.mark.llm
def test_a_slow_endpoint_times_out(proxy: Proxy) -> None:
    proxy.break_with("slow")
    (answer,) = endpoint(proxy.port, retries=0, timeout=1.0).answer([QUESTION])
    assert "Timeout" in answer.error


@pytest.mark.llm
def test_an_answer_cut_short_is_told(proxy: Proxy) -> None:
    (answer,) = endpoint(proxy.port).answer([QUESTION], max_tokens=1)
    assert "ended early (length)" in answer.error
