"""An endpoint's faults are told in the answers, whatever they are; a real vLLM server stands behind them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from kdgym.llm.chat import UnreachableError
from kdgym.llm.connect import connect
from kdgym.llm.endpoint import Endpoint

if TYPE_CHECKING:
    from tests.compat.llm.conftest import Proxy

SCHEMA = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
QUESTION = [{"role": "user", "content": "Say two numbers."}]


def endpoint(port: int, retries: int = 1, timeout: float = 60.0, **limits: float) -> Endpoint:
    return Endpoint(f"http://127.0.0.1:{port}/v1", "smollm2", retries=retries, timeout=timeout, **limits)  # type: ignore[arg-type]


def test_nobody_there() -> None:
    """Port 9 (discard) has no listener."""
    with pytest.raises(UnreachableError, match="no connection"):
        endpoint(9, retries=0).answer([QUESTION])


def test_a_page_instead_of_an_answer_stops_at_the_first_question(proxy: Proxy) -> None:
    proxy.break_with("garbage")
    with pytest.raises(UnreachableError, match="no chat completion"):
        endpoint(proxy.port).answer([QUESTION] * 3, SCHEMA)
    assert proxy.connections == 1


@pytest.mark.parametrize("limit", ["token", "wall-time"])
def test_a_spent_budget_sends_nothing(limit: str) -> None:
    spent = {"token_budget": 0} if limit == "token" else {"seconds_budget": 0}
    (answer,) = endpoint(9, **spent).answer([QUESTION])
    assert (answer.attempts, answer.error) == (0, f"the {limit} budget is spent")


def test_ways_to_a_model_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match=r"base_url is 'smollm2'; give http"):
        connect("smollm2", "smollm2")
    with pytest.raises(ValueError, match="A model in process has no token_budget"):
        connect("transformers", "smollm2", token_budget=10)
    with pytest.raises(ValueError, match="concurrency is 0"):
        Endpoint("http://127.0.0.1:9/v1", "smollm2", concurrency=0)


def test_answers_follow_the_schema_and_repeat(proxy: Proxy) -> None:
    answers = [endpoint(proxy.port).answer([QUESTION] * 5, SCHEMA) for _ in range(2)]
    assert [answer.error for answer in answers[0]] == [""] * 5
    assert all(len(json.loads(answer.text)) == 2 and answer.prompt_tokens > 0 for answer in answers[0])
    assert answers[0][0].text == answers[1][0].text


def test_many_requests_in_flight(server: int) -> None:
    """256 at once: every one is answered, and in order."""
    asked = [[{"role": "user", "content": f"Repeat the number {i}."}] for i in range(256)]
    answers = endpoint(server, concurrency=256, timeout=300.0).answer(asked, {"type": "integer"}, max_tokens=8)
    assert not [answer.error for answer in answers if answer.error and "length" not in answer.error]
    assert len({answer.text for answer in answers}) > 1


@pytest.mark.parametrize("fault", ["reset", "429", "truncated"])
def test_a_passing_fault_is_retried(proxy: Proxy, fault: str) -> None:
    proxy.break_with(fault, failures=1)
    start = time.monotonic()
    (answer,) = endpoint(proxy.port).answer([QUESTION], SCHEMA)
    assert (answer.error, answer.attempts, proxy.connections) == ("", 2, 2)
    assert fault != "429" or time.monotonic() - start >= 1, "Retry-After: 1"


@pytest.mark.parametrize(
    ("fault", "said"),
    [("reset", "Connection"), ("429", "429"), ("truncated", "Connection")],
)
def test_a_lasting_fault_is_told(proxy: Proxy, fault: str, said: str) -> None:
    proxy.break_with(fault)
    (answer,) = endpoint(proxy.port).answer([QUESTION], SCHEMA)
    assert said in answer.error
    assert answer.attempts == proxy.connections


def test_a_slow_endpoint_times_out(proxy: Proxy) -> None:
    proxy.break_with("slow")
    (answer,) = endpoint(proxy.port, retries=0, timeout=1.0).answer([QUESTION])
    assert "timed out" in answer.error.lower() or "Timeout" in answer.error


def test_an_endpoint_that_never_finishes_is_given_up(proxy: Proxy) -> None:
    """Every byte comes in time; the whole never does."""
    proxy.break_with("drip")
    (answer,) = endpoint(proxy.port, retries=0, patience=3.0).answer([QUESTION])
    assert answer.error.startswith("no answer after")


def test_an_answer_cut_short_is_told(proxy: Proxy) -> None:
    (answer,) = endpoint(proxy.port).answer([QUESTION], max_tokens=1)
    assert "ended early (length)" in answer.error
