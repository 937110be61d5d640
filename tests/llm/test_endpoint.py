"""An endpoint's faults: those that will not pass stop at the first question, all others are told in the answers."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from kdgym.llm.chat import UnreachableError
from kdgym.llm.endpoint import Endpoint
from tests.llm.endpoint import KEY, MODEL, FakeEndpoint

PAIR = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
QUESTION = [{"role": "user", "content": "Say two numbers."}]


def ask(server: FakeEndpoint, questions: int = 1, **options: Any) -> list[Any]:
    return Endpoint(server.url, MODEL, **{"retries": 2, "patience": 20, **options}).answer([QUESTION] * questions, PAIR)


def test_answers_come_in_order_with_their_tokens(endpoint: FakeEndpoint) -> None:
    endpoint.reply = lambda asked: asked["messages"][0]["content"]
    asked = [[{"role": "user", "content": str(i)}] for i in range(40)]
    answers = Endpoint(endpoint.url, MODEL, concurrency=8).answer(asked)
    assert [answer.text for answer in answers] == [f'"{i}"' for i in range(40)]
    assert {(a.prompt_tokens, a.completion_tokens, a.attempts, a.error, a.failed) for a in answers} == {
        (7, 5, 1, "", False)
    }


@pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 404, 405, 410, 422])
def test_a_status_that_will_not_pass_stops_at_the_first_question(endpoint: FakeEndpoint, status: int) -> None:
    endpoint.fault = lambda number: status
    with pytest.raises(
        UnreachableError, match=rf"{MODEL} at {endpoint.url} does not answer \(HTTP {status}: No"
    ) as stop:
        ask(endpoint, questions=5)
    assert len(endpoint.asked) == 1
    assert KEY not in str(stop.value)
    assert "\n" not in str(stop.value)


@pytest.mark.parametrize("fault", ["html", "quota"])
def test_a_page_and_an_empty_account_stop_as_well(endpoint: FakeEndpoint, fault: str) -> None:
    endpoint.fault = lambda number: fault
    with pytest.raises(UnreachableError, match="no chat completion" if fault == "html" else "no money left"):
        ask(endpoint, questions=5)
    assert len(endpoint.asked) == (1 if fault == "html" else 3)


@pytest.mark.parametrize("fault", [408, 409, 429, 500, 502, 503, 504, "reset"])
def test_what_passes_is_tried_again(endpoint: FakeEndpoint, fault: Any) -> None:
    endpoint.fault = lambda number: fault if number < 2 else None
    (answer,) = ask(endpoint)
    assert (answer.error, answer.attempts, answer.failed) == ("", 3, False)
    assert answer.text == "[0, 0]"


@pytest.mark.parametrize("fault", [408, 409, 429, 500, 502, 503, 504, "reset"])
def test_what_does_not_pass_after_all_is_told_after_the_stated_attempts(endpoint: FakeEndpoint, fault: Any) -> None:
    endpoint.fault = lambda number: fault
    (answer,) = ask(endpoint)
    assert answer.error.startswith(
        "APIConnectionError" if fault == "reset" else f"HTTP {fault}: No. The key was [key]."
    )
    assert (answer.attempts, answer.failed, len(endpoint.asked)) == (3, True, 3)


def test_what_stops_first_questions_is_told_of_later_ones(endpoint: FakeEndpoint) -> None:
    """A key may expire in the middle of a run, which then keeps what was learned; its share of failures is reported."""
    endpoint.fault = lambda number: 401 if number else None
    client = Endpoint(endpoint.url, MODEL, retries=0)
    first, second = client.answer([QUESTION] * 2, PAIR)
    (third,) = client.answer([QUESTION], PAIR)
    assert [each.failed for each in (first, second, third)] == [False, True, True]
    assert third.error == "HTTP 401: No. The key was [key]."


def test_a_fault_that_will_not_pass_stops_after_others_that_might(endpoint: FakeEndpoint) -> None:
    endpoint.fault = lambda number: 403 if number else 503
    with pytest.raises(UnreachableError, match="HTTP 403"):
        ask(endpoint, questions=3, retries=0)


def test_an_answer_that_is_cut_short_is_the_models_own(endpoint: FakeEndpoint) -> None:
    endpoint.fault = lambda number: "cut"
    (answer,) = ask(endpoint)
    assert (answer.error, answer.failed) == ("the answer ended early (length)", False)


def test_a_wrong_name_says_so(endpoint: FakeEndpoint) -> None:
    with pytest.raises(UnreachableError, match=r"The model `another` does not exist.*Check --model"):
        Endpoint(endpoint.url, "another").answer([QUESTION])


@pytest.mark.parametrize("key", ["", "sk-this-key-is-wrong", "a" * 500])
def test_a_wrong_key_says_where_it_belongs_and_is_not_shown(
    endpoint: FakeEndpoint, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UnreachableError, match=r"HTTP 401.*environment variable OPENAI_API_KEY") as stop:
        ask(endpoint)
    assert not key or key[:100] not in str(stop.value)


def test_a_key_with_a_line_break_is_the_key(endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    assert not ask(endpoint)[0].error


def test_nobody_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, and nobody listens
        address = f"127.0.0.1:{unused.getsockname()[1]}/v1"
        client = Endpoint(f"http://{address}", MODEL, retries=0)
        with pytest.raises(UnreachableError, match=rf"at http://{address} does not answer \(no connection: "):
            client.answer([QUESTION])


@pytest.mark.parametrize("limit", ["token", "wall-time"])
def test_what_a_spent_budget_keeps_back_has_failed(endpoint: FakeEndpoint, limit: str) -> None:
    spent = {"token_budget": 0} if limit == "token" else {"seconds_budget": 0}
    (answer,) = ask(endpoint, **spent)
    assert (answer.attempts, answer.error, answer.failed) == (0, f"the {limit} budget is spent", True)
    assert not endpoint.asked


def test_a_notebook_has_an_event_loop_already(endpoint: FakeEndpoint) -> None:
    async def cell() -> list[Any]:
        return ask(endpoint)

    assert asyncio.run(cell())[0].text == "[0, 0]"
