"""Teachers that write items decide as their papers' rules say, on what a student is said to have got wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kdgym.evaluation import agent_module


def told(items: int, errors: int = 0, **more: Any) -> str:
    """What a teacher reads: the money, as a number of items, and so many wrong answers, to the problems A, B, C ..."""
    wrong = [{"problem": "ABCDEFGH"[i], "right": i, "given": 9} for i in range(errors)]
    return json.dumps({"items": items, "errors": wrong, **more})


def written(agent: Any, *texts: str) -> list[Any]:
    """Lessons, a student each: real items as (how many, like what), written ones as their problem and answer."""
    lessons = [json.loads(text) for text in agent.act(texts)]
    return [
        [(i["draw"], i.get("like")) if "draw" in i else f"{i['problem']}={i['answer']}" for i in x] for x in lessons
    ]


def begin(name: str, *texts: str, seed: int = 0) -> Any:
    agent: Any = agent_module(name).Agent(None, None, seed=seed)
    if hasattr(agent, "reset"):
        agent.reset(texts)
    return agent


A, B, C = "A=0", "B=1", "C=2"
DECISIONS: list[tuple[str, str, list[Any]]] = [
    ("random_real", told(50, 3), [(50, None)]),
    ("random_real", told(0, 3), []),
    # Twenty variants of every error, as far as the money goes, and real items for the rest.
    ("llm2llm", told(100, 3), [(20, "A"), (20, "B"), (20, "C"), (40, None)]),
    ("llm2llm", told(60, 3), [(20, "A"), (20, "B"), (20, "C")]),
    ("llm2llm", told(45, 3), [(20, "A"), (20, "B"), (5, "C")]),
    ("llm2llm", told(40, 3), [(20, "A"), (20, "B")]),
    ("llm2llm", told(50), [(50, None)]),
    ("llm2llm", told(0, 3), []),
    # Five copies of every error with its right answer.
    ("copy_errors", told(12, 2), [*[A, B] * 5, (2, None)]),
    ("copy_errors", told(10, 2), [A, B] * 5),
    ("copy_errors", told(3, 2), [A, B, A]),
    ("copy_errors", told(4), [(4, None)]),
    ("copy_errors", told(0, 2), []),
    ("diagnose_errors", told(12, 2), [*[A, B] * 5, (2, None)]),
    ("diagnose_errors", told(3, 2), [A, B, A]),
    ("diagnose_errors", told(0, 2), []),
    # Ten items a call, like three of the errors.
    ("open_ended", told(30), [(30, None)]),
    ("open_ended", told(0, 3), []),
    ("open_ended", told(10, 1), [(10, "A")]),
    ("open_ended", told(25, 1), [(25, "A")]),
    # Five copies of every error, and items like the errors in equal parts.
    ("copy_and_order", told(15, 2), [*[A, B] * 5, (3, "A"), (2, "B")]),
    ("copy_and_order", told(3, 2), [A, B, A]),
    ("copy_and_order", told(4), [(4, None)]),
    ("copy_and_order", told(0, 2), []),
    # Where there is one engine alone, nothing is to be found out.
    ("vet_engines", told(5, 2), [(3, "A"), (2, "B")]),
    ("vet_engines", told(4), [(4, None)]),
    ("vet_engines", told(0, 2), []),
    ("try_engines", told(5, 2, change=0.0), [(3, "A"), (2, "B")]),
    ("try_engines", told(4, change=0.0), [(4, None)]),
    ("try_engines", told(0, 2, change=0.0), []),
]


@pytest.mark.parametrize(("name", "text", "lesson"), DECISIONS)
def test_lessons(name: str, text: str, lesson: list[Any]) -> None:
    assert written(begin(name, text, text), text, text) == [lesson, lesson]


@pytest.mark.parametrize(("items", "amounts"), [(10, [4, 3, 3]), (5, [2, 2, 1]), (2, [1, 1])])
def test_open_ended_asks_for_ten_items_like_three_errors_a_call(items: int, amounts: list[int]) -> None:
    drawn = set()
    for seed in range(6):
        (lesson,) = written(begin("open_ended", seed=seed), told(items, 8))
        assert sorted((n for n, _ in lesson), reverse=True) == amounts
        drawn.add(frozenset(like for _, like in lesson))
    assert len(drawn) > 2  # not always the same errors


def test_open_ended_calls_until_the_money_is_spent() -> None:
    (lesson,) = written(begin("open_ended"), told(405, 8))
    assert sum(n for n, _ in lesson) == 405
    assert sorted(like for _, like in lesson) == list("ABCDEFGH")  # each once, all its calls together


# Real items, copies, variants and half of each; then what changed the score most.
DRAFTS = [
    [(7, None)],
    [A, B, C, A, B, C, A],
    [(3, "A"), (2, "B"), (2, "C")],
    [(1, "A"), (1, "B"), (1, "C"), (4, None)],
]


@pytest.mark.parametrize("best", range(4))
def test_arte_probes_every_draft_and_gives_what_helped_most(best: int) -> None:
    """The change that follows a draft is its own; changes later on count no more."""
    agent = begin("arte", told(7, 3))
    changes = [0.5, *(0.2 if draft == best else 0.1 for draft in range(4)), 0.9, -0.9]
    lessons = [written(agent, told(7, 3, change=change))[0] for change in changes]
    assert lessons == [*DRAFTS, *[DRAFTS[best]] * 3]


def test_arte_decides_for_every_student() -> None:
    texts = [told(7, 3, change=0.0)] * 2
    agent = begin("arte", *texts)
    for changes in ([0, 0], [0.3, 0.1], [0.1, 0.3], [0, 0], [0, 0]):
        lessons = written(agent, *(told(7, 3, change=change) for change in changes))
    assert lessons == [DRAFTS[0], DRAFTS[1]]


@pytest.mark.parametrize(
    ("text", "drafts"),
    [
        (told(5, 2), [[(5, None)], [A, B, A, B, A], [(3, "A"), (2, "B")], [(1, "A"), (1, "B"), (3, None)]]),
        (told(1, 2), [[(1, None)], [A], [(1, "A")], [(1, None)]]),
        (told(4), [[(4, None)], [(4, None)], [(4, None)], [(2, None), (2, None)]]),
        (told(0, 2), [[], [], [], []]),
    ],
)
def test_drafts_of_little_money_or_few_errors(text: str, drafts: list[Any]) -> None:
    agent = begin("arte", text)
    given = json.loads(text)
    assert [written(agent, json.dumps({**given, "change": 0.0}))[0] for _ in range(4)] == drafts


def test_diagnose_errors_believes_what_is_followed() -> None:
    """Of six problems on which a rule is wrong six, three or none were answered as it says; about one rule nothing is known."""
    rules = {str(i): {"asked": asked, "followed": n} for i, (asked, n) in enumerate([(6, 6), (6, 3), (6, 0), (0, 0)])}
    agent = begin("diagnose_errors", json.dumps({"wrong_rules": rules}))
    belief = agent.diagnose(None)
    assert belief.shape == (1, 4)
    assert belief[0, 0] > 0.95 > belief[0, 1] > 1 / 3 > 0.2 > belief[0, 2]
    assert belief[0, 3] == pytest.approx(1 / 3)
    # Beta-binomial with three of six: C(6,3) B(5,5)/B(2,2) against C(6,3) B(4,9)/B(1,6).
    odds = 0.5 * (6 * 1 / 630) / (6 * 1 / 1980)
    assert belief[0, 1] == pytest.approx(odds / (1 + odds))


ENGINES = ["X", "Y", "Z"]
SUM, PRODUCT = "In base 6, what is {} + 3?", "In base 6, what is {} * 3?"


def checked(*said: tuple[str, str, str], items: int = 6) -> str:
    """Errors at problems, and beside them an engine and whether it is right; "" for no engine."""
    errors = [{"problem": problem, "right": "1", "given": "9"} for problem, _, _ in said]
    for error, (_, engine, answer) in zip(errors, said, strict=True):
        error.update({"engine": engine, "engine_answer": answer} if engine else {})
    return json.dumps({"items": items, "engines": ENGINES, "errors": errors, "change": 0.0})


def orders(agent: Any, text: str) -> list[tuple[str, str]]:
    return [(item["like"], item["engine"]) for item in json.loads(agent.act([text])[0])]


def test_vet_engines_orders_every_kind_from_the_engine_that_was_right_about_it() -> None:
    told = checked(
        (SUM.format(1), "X", "1"), (SUM.format(2), "X", "1"), (SUM.format(3), "Y", "2"),
        (PRODUCT.format(1), "X", "2"), (PRODUCT.format(2), "Z", "1"), (PRODUCT.format(3), "", ""),
    )  # fmt: skip
    agent = begin("vet_engines", told)
    assert [engine for _, engine in orders(agent, told)] == ["X"] * 3 + ["Z"] * 3


def test_vet_engines_remembers_and_a_mistake_counts_more_than_being_right() -> None:
    agent = begin("vet_engines", "")
    right = checked(*[(SUM.format(i), "X", "1") for i in range(3)], (SUM.format(9), "Z", "1"))
    assert {engine for _, engine in orders(agent, right)} == {"X"}
    wrong = checked((SUM.format(4), "X", "2"), (SUM.format(5), "Y", "2"))
    assert {engine for _, engine in orders(agent, wrong)} == {"Z"}  # sound engines are always right


def test_vet_engines_chooses_at_random_among_engines_of_which_nothing_is_known() -> None:
    told = checked((SUM.format(1), "X", "2"), (SUM.format(2), "", ""))
    chosen = {engine for seed in range(8) for _, engine in orders(begin("vet_engines", told, seed=seed), told)}
    assert chosen == {"Y", "Z"}


@pytest.mark.parametrize("best", range(4))
def test_try_engines_stays_with_what_the_score_rose_most_after(best: int) -> None:
    """First items of any engine, then of each alone; what engines say is not read."""
    told = json.loads(checked((SUM.format(1), "X", "2"), (SUM.format(2), "Y", "1")))
    agent = begin("try_engines", json.dumps(told))
    changes = [0.5, *(0.2 if choice == best else 0.1 for choice in range(4)), 0.9, -0.9]
    ordered = []
    for change in changes:
        lesson = json.loads(agent.act([json.dumps({**told, "change": change})])[0])
        assert [item["draw"] for item in lesson] == [3, 3]
        ordered.append({item.get("engine") for item in lesson})
    choices = [{None}, *({name} for name in ENGINES)]
    assert ordered == [*choices, *[choices[best]] * 3]
