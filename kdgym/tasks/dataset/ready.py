"""Data sets whose columns are known: ``gsm8k:PATH``, ``math:PATH`` and ``mbpp:PATH`` need their files alone."""

from __future__ import annotations

import re
from collections.abc import Callable

from kdgym.tasks.dataset.reading import Row, text_of

_CALCULATION = re.compile(r"<<.*?>>")  # of the calculator that GSM8K's models used


def _gsm8k(row: Row) -> Row:
    """GSM8K (Cobbe et al., 2021): the answer stands behind ``####``, and a skill is how many lines of reasoning it takes."""
    rationale, _, answer = _CALCULATION.sub("", text_of(row.get("answer"))).rpartition("####")
    steps = min(6, len(rationale.split("\n")) - 1)
    skill = f"{steps} steps{' or more' * (steps == 6)}"
    return {"problem": row.get("question"), "answer": answer, "skill": skill, "rationale": rationale}


def _math(row: Row) -> Row:
    r"""MATH (Hendrycks et al., 2021): the answer stands in the last ``\boxed{}`` of the solution; skills are its subjects."""
    solution, skill = text_of(row.get("solution")), row.get("type") or row.get("subject")
    answer, depth = "", 1
    for character in solution.rpartition("\\boxed{")[2] if "\\boxed{" in solution else "":
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            break
        answer += character
    return {"problem": row.get("problem"), "answer": answer, "skill": skill, "rationale": solution}


def _mbpp(row: Row) -> Row:
    """MBPP (Austin et al., 2021): the first test is shown, as it names the function; skills have to be discovered."""
    tests = row.get("test_list") or [""]
    problem = f"{text_of(row.get('text') or row.get('prompt'))}\n\nThis has to hold: {tests[0]}"
    return {"problem": problem, "answer": row.get("code"), "skill": "programs", "tests": tests}


# What makes a row of the columns problem, answer, skill, rationale and tests from its own, and the verifier.
READY: dict[str, tuple[Callable[[Row], Row], str]]
READY = {"gsm8k": (_gsm8k, "numeric"), "math": (_math, "math-verify"), "mbpp": (_mbpp, "unit-tests")}
