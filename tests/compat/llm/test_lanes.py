"""A real language model in the lanes: as the student that writes SQL, and as the teacher behind them."""

from __future__ import annotations

import gymnasium as gym


def test_it_investigates_by_sql_of_its_own(server: int) -> None:
    envs = gym.make_vec(
        "kdgym/Orchestrate-Incidents-v0", num_envs=2, autoreset=False, incidents=1, tasks=1, worth=1e5, budget=1e7,
        student=f"smollm2@http://127.0.0.1:{server}/v1",
    ).unwrapped  # fmt: skip
    envs.reset(seed=0)
    action = envs.moves.encode(2, lane="paired", plan="own", operation="keep")  # type: ignore[attr-defined]
    info = envs.step(action)[4]
    assert (info["cost/student_inference/tokens"] > 300).all()  # it reads the tables
    events = [event for student in envs.session.events for event in student]  # type: ignore[attr-defined]
    queries = [event for event in events if "sql" in event]
    assert queries
    assert all("rows" in event or event["error"] for event in queries)
    assert info["cost/tools/items"].sum() >= 1


def test_it_supervises(server: int) -> None:
    envs = gym.make_vec(
        "kdgym/Orchestrate-Math-v0", num_envs=2, autoreset=False, tasks=2, budget=1e7, pool="evaluation",
        teacher=f"smollm2@http://127.0.0.1:{server}/v1",
    ).unwrapped  # fmt: skip
    envs.reset(seed=0)
    for lane in ("paired", "coach"):
        action = envs.moves.encode(2, lane=lane, plan="own", operation="write")  # type: ignore[attr-defined]
        info = envs.step(action)[4]
        assert (info["cost/teacher/tokens"] > 30).all()
        verdicts = [[e["value"] for e in events if "verdict" in e["what"]] for events in envs.session.events]  # type: ignore[attr-defined]
        assert all(said and set(said) <= {"valid", "invalid"} for said in verdicts)
