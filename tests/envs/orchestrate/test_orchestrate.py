"""Orchestrate: every token is counted, money is the limit, memories stay with their students, lanes are worth their names."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdgym.core import ledger
from kdgym.envs.orchestrate import memory as notes
from kdgym.envs.orchestrate.memory import OPERATIONS, PLANS
from kdgym.envs.orchestrate.memory_file import Note, Notebook, Record
from kdgym.envs.orchestrate.supervision import LANES
from kdgym.llm.chat import UnreachableError
from tests.llm.endpoint import serving
from tests.students.language.tiny_model import write_model

pytestmark = pytest.mark.slow

ID = "kdgym/Orchestrate-Math-v0"


def make(num_envs: int = 4, **changes: Any) -> Any:
    return gym.make_vec(ID, num_envs=num_envs, autoreset=False, **{"tasks": 4, **changes})


def act(envs: Any, **decisions: Any) -> np.ndarray:
    action: np.ndarray = envs.moves.encode(envs.num_envs, **decisions)
    return action


def play(envs: Any, **decisions: Any) -> np.ndarray:
    """Everybody's rewards of a stream, [S, tasks]."""
    return np.stack([envs.step(act(envs, **decisions))[1] for _ in range(envs.steps)], axis=1)


# --- what is counted -------------------------------------------------------------------------------------------------

choices = st.tuples(st.sampled_from(LANES), st.sampled_from(PLANS), st.sampled_from(OPERATIONS))
WORLDS = {ID: {"budget": 1500.0}, "kdgym/Orchestrate-Incidents-v0": {"budget": 6000.0, "incidents": 1}}


@settings(max_examples=15)
@given(
    world=st.sampled_from(list(WORLDS)),
    stream=st.lists(choices, min_size=4, max_size=4),
    recheck=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_the_ledger_adds_up_to_the_token(
    world: str, stream: list[tuple[str, str, str]], recheck: bool, seed: int
) -> None:
    envs: Any = gym.make_vec(world, num_envs=2, autoreset=False, tasks=4, recheck=recheck, **WORLDS[world])
    envs.reset(seed=seed)
    total = np.zeros(2)
    for lane, plan, operation in stream:
        busy = envs.state["done"].numpy() == 0
        if not busy.any():
            break
        success_before = envs.state["right"].sum(1).numpy().copy()
        _, reward, _, _, info = envs.step(act(envs, lane=lane, plan=plan, operation=operation))
        money = sum(info[f"cost/{actor}/money"] for actor in ledger.ACTORS)
        for actor, price in envs.config.prices.items():
            assert np.array_equal(info[f"cost/{actor}/money"], price * info[f"cost/{actor}/tokens"])
        success = envs.state["right"].sum(1).numpy() - success_before
        assert np.array_equal(reward[busy], (success - money / envs.config.worth)[busy])
        assert not money[~busy].any()
        total += money
    assert np.array_equal(total, envs.state["spent"].numpy())
    spent = envs.ledger()
    assert np.array_equal(total, sum(spent[actor]["money"] for actor in ledger.ACTORS))


def test_lanes_cost_what_they_do() -> None:
    spent = {}
    for lane in LANES:
        envs = make()
        envs.reset(seed=0)
        spent[lane] = envs.step(act(envs, lane=lane, plan="own", operation="keep"))[4]
    assert not spent["auto"]["cost/teacher/items"].any()
    assert (spent["paired"]["cost/teacher/items"] >= 1).all()
    assert (spent["coach"]["cost/student_inference/items"] >= 2).all()  # a plan and an attempt
    assert (spent["stepwise"]["cost/teacher/items"] >= 1).all()
    assert all((cost["cost/judge/items"] == 1).all() for cost in spent.values())
    assert not any(cost["cost/memory/items"].any() for cost in spent.values())


@pytest.mark.thorough
def test_a_retry_is_checked_again_where_that_is_wanted() -> None:
    spent, right = {}, {}
    for recheck in (False, True):
        envs = make(32, tasks=2, recheck=recheck, verdict_accuracy=1.0)
        envs.reset(seed=0)
        costs = [envs.step(act(envs, lane="paired", plan="own", operation="keep"))[4] for _ in range(2)]
        spent[recheck] = sum(cost["cost/teacher/items"] for cost in costs)
        right[recheck] = envs.state["right"].sum(1).numpy()
        verdicts = [[e["value"] for e in events if "verdict" in e["what"]] for events in envs.session.events]
        assert {len(said) for said in verdicts} == ({1, 2} if recheck else {1})
        assert all(said[0] == "invalid" for said in verdicts if len(said) == 2)
    assert (spent[True] >= spent[False]).all()
    assert right[True].mean() > right[False].mean()  # whom the first advice did not help gets another


def test_what_is_left_undone_for_want_of_money_counts_as_failure() -> None:
    envs = make(tasks=20, budget=400.0)
    envs.reset(seed=0)
    finished = np.zeros(4, dtype=bool)
    rewards, tasks = np.zeros(4), 0
    while not finished.all():
        before = envs.state["spent"].numpy().copy()
        _, reward, terminated, _, _ = envs.step(act(envs, lane="stepwise", plan="own", operation="write"))
        assert (before[~finished] < 400).all()  # nobody began without money
        assert np.array_equal(
            envs.state["spent"].numpy()[finished], before[finished]
        )  # who has finished spends nothing
        rewards, finished, tasks = rewards + reward, terminated, tasks + 1
    assert tasks < 20
    assert (envs.state["spent"].numpy() >= 400).all()
    assert envs.score() == pytest.approx(rewards / 20)
    assert envs.outcome()["success"] == pytest.approx(envs.state["right"].sum(1).numpy() / 20)


@pytest.mark.thorough
def test_the_judge_is_no_part_of_the_reward() -> None:
    rewards, judged = [], []
    for accuracy in (0.0, 1.0):
        envs = make(16, judge_accuracy=accuracy)
        envs.reset(seed=0)
        observation, reward, *_ = envs.step(act(envs, lane="auto", plan="own", operation="keep"))
        rewards.append(reward)
        judged.append(observation["last"][:, 0])
    assert np.array_equal(*rewards)
    assert np.array_equal(judged[1] == 1, rewards[1] > 0)
    assert not np.array_equal(*judged)


@pytest.mark.thorough
def test_supervision_helps_if_the_expert_knows() -> None:
    """64 students, the same tasks: alone, with a teacher who knows everything, and with one who errs in everything."""

    def successes(lane: str, accuracy: float) -> float:
        envs = make(
            64, tasks=6, budget=1e9, verdict_accuracy=accuracy, advice_accuracy=accuracy, step_accuracy=accuracy
        )
        envs.reset(seed=0)
        play(envs, lane=lane, plan="own", operation="keep")
        return float(envs.outcome()["success"].mean())

    alone = successes("auto", 1.0)
    assert 0.3 < alone < 0.6
    assert successes("stepwise", 1.0) > 0.97
    for lane in ("paired", "coach"):
        assert successes(lane, 1.0) > alone + 0.1
        assert successes(lane, 0.0) < alone


def test_bound_looks_at_copies() -> None:
    envs = make(3)
    envs.reset(seed=0)
    before = [buffer.clone() for buffer in envs.state.buffers.values()]
    options = np.stack([act(envs, lane=lane, plan="own", operation="keep") for lane in ("auto", "stepwise")], axis=1)
    expected = envs.expected_reward(options, samples=4)
    assert expected.shape == (3, 2)
    assert np.array_equal(expected, envs.expected_reward(options, samples=4))
    assert all(map(torch.equal, envs.state.buffers.values(), before))


def test_a_students_stream_is_its_own_affair() -> None:
    """The same students with and without others beside them, each in its own lane."""
    lanes = [np.array(LANES)[(np.arange(8) + task) % 4] for task in range(4)]
    envs, alone = make(8), make(2)
    envs.reset(seed=0)
    alone.reset(seed=[3, 6])
    for lane in lanes:
        _, together, *_ = envs.step(act(envs, lane=lane, plan="similar", operation="write"))
        _, apart, *_ = alone.step(act(alone, lane=lane[[3, 6]], plan="similar", operation="write"))
        assert np.array_equal(together[[3, 6]], apart)


# --- memory ----------------------------------------------------------------------------------------------------------


def notes_of(envs: Any) -> torch.Tensor:
    return torch.stack([envs.state[f"note_{name}"] for name in ("cue", "advice")]).clone()


def test_a_student_keeps_its_memory_and_itself_in_another_stream() -> None:
    envs = make(8, tasks=8)
    envs.reset(seed=0)
    play(envs, lane="paired", plan="similar", operation="write")
    student, problems, notes = envs.state["student"].clone(), envs.state["problem"].clone(), notes_of(envs)
    assert (notes[0] >= 0).any(1).sum() >= 6  # most have noted something
    envs.reset(options={"restart": "continue"})
    assert torch.equal(envs.state["student"], student)
    assert torch.equal(notes_of(envs), notes)
    assert not torch.equal(envs.state["problem"], problems)
    assert not envs.state["by_key"].any()
    envs.reset()
    assert not torch.equal(envs.state["student"], student)
    assert (notes_of(envs)[0] == -1).all()


def test_nothing_changes_a_frozen_memory() -> None:
    envs = make(8, tasks=8)
    envs.reset(seed=0)
    play(envs, lane="paired", plan="similar", operation="write")
    notes = notes_of(envs)
    envs.reset(options={"memory": "frozen"})
    for operation in OPERATIONS:
        info = envs.step(act(envs, lane="paired", plan="similar", operation=operation))[4]
        assert not info["cost/memory/items"].any()
    assert torch.equal(notes_of(envs), notes)
    with pytest.raises(ValueError, match="melted"):
        envs.reset(options={"memory": "melted"})
    with pytest.raises(ValueError, match="frozen"):
        envs.reset(options={"memory": "frozen", "restart": "base"})


def test_only_students_that_start_over_are_frozen_and_only_for_that_episode() -> None:
    envs = make(3)
    envs.reset(seed=0)
    envs.reset(options={"memory": "frozen", "reset_mask": np.array([True, False, True])})
    assert envs.state["frozen"].tolist() == [1, 0, 1]
    envs.reset(options={"restart": "continue", "reset_mask": np.array([True, False, False])})
    assert envs.state["frozen"].tolist() == [0, 0, 1]


def test_memories_are_kept_as_files_and_read_again(tmp_path: Path) -> None:
    envs = make(8, tasks=8, notebooks=str(tmp_path))
    envs.reset(seed=40)
    play(envs, lane="paired", plan="similar", operation="write")
    files = sorted(tmp_path.iterdir())
    assert {int(file.stem) for file in files} <= set(range(40, 48))
    assert len(files) >= 6
    student = int(files[0].stem) - 40
    other = make(2)
    other.reset(seed=0)
    other.import_notes(1, files[0])
    assert envs.state["note_hits"][student].any()
    for name in notes.layout(32):  # notes, their records, and what those are compared with
        assert torch.equal(other.state[name][1], envs.state[name][student]), name
    other.export_notes(1, tmp_path / "again.sqlite")
    again, first = (Notebook(file, "Math", envs.world.edition).load() for file in (tmp_path / "again.sqlite", files[0]))
    assert again == first


def test_files_that_are_no_memory_of_this_world_are_refused(tmp_path: Path) -> None:
    envs = make(2, slots=2)
    envs.reset(seed=0)
    before = notes_of(envs)
    (tmp_path / "text").write_text("a diary, not a database " * 100)
    Notebook(tmp_path / "elsewhere", "Incidents", "1").save([], Record())
    many = Notebook(tmp_path / "many", "Math", envs.world.edition)
    many.save([Note(slot, slot, 0, "sum", 0, 1, 1.0, 1.0) for slot in range(3)], Record())
    strange = Notebook(tmp_path / "strange", "Math", envs.world.edition)
    strange.save([Note(0, 99, 0, "sum", 0, 1, 1.0, 1.0)], Record())
    with pytest.raises(FileNotFoundError, match="nowhere"):
        envs.import_notes(0, tmp_path / "nowhere")
    for name, said in (
        ("text", "not a notebook"),
        ("elsewhere", "Incidents"),
        ("many", "more slots"),
        ("strange", "cue 99"),
    ):
        with pytest.raises(ValueError, match=said):
            envs.import_notes(0, tmp_path / name)
    assert torch.equal(notes_of(envs), before)


WRITER = """
import sys
from pathlib import Path
from kdgym.envs.orchestrate.memory_file import Note, Notebook, Record
book, notes = Notebook(Path(sys.argv[1]), "Math", "1"), []
for slot in range(10**6):
    notes.append(Note(slot, slot % 6, 0, "x" * 2000, 0, 0, 0.0, 0.0))
    book.save(notes, Record(len(notes)))
    print(len(notes), flush=True)
"""


def test_a_memory_survives_being_killed_while_it_is_written(tmp_path: Path) -> None:
    path, writer = tmp_path / "notes.sqlite", None
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    told = [int(writer.stdout.readline()) for _ in range(30)]
    os.kill(writer.pid, signal.SIGKILL)  # it is writing the next note, or a later one
    told += [int(line) for line in writer.stdout.read().split()]
    writer.wait()
    found, record = Notebook(path, "Math", "1").load()
    assert record.tasks == len(found)
    assert told[-1] <= len(found) <= told[-1] + 1
    assert [note.slot for note in found] == list(range(len(found)))
    assert all(note.says == "x" * 2000 for note in found)


# --- a language model behind the lanes -------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", ["paired", pytest.param("coach", marks=pytest.mark.thorough)])
def test_a_teacher_out_of_order_finds_no_fault(lane: str) -> None:
    with serving() as endpoint:
        endpoint.fault = lambda number: 503
        envs = make(2, tasks=1, teacher=f"nobody@{endpoint.url}")
        envs.reset(seed=0)
        info = envs.step(act(envs, lane=lane, plan="own", operation="keep"))[4]
    assert not info["cost/teacher/tokens"].any()
    assert not any(event["what"] == "advice" for events in envs.session.events for event in events)
    assert (info["cost/teacher/items"] == (2 if lane == "coach" else 1)).all()


def test_a_teacher_that_cannot_be_reached_stops_at_the_first_question() -> None:
    envs = make(2, tasks=1, teacher="nobody@http://127.0.0.1:9/v1")
    envs.reset(seed=0)
    with pytest.raises(UnreachableError, match=r"nobody at http://127.0.0.1:9/v1 does not answer"):
        envs.step(act(envs, lane="paired", plan="own", operation="keep"))


def test_a_teacher_with_no_such_name_is_refused() -> None:
    with pytest.raises(ValueError, match="names no language model"):
        make(1, teacher="clever")


def test_an_untrained_model_supervises(tmp_path: Path) -> None:
    envs = make(2, teacher=f"hf:{write_model(tmp_path / 'tiny')}", budget=1e7)
    envs.reset(seed=0)
    info = envs.step(act(envs, lane="coach", plan="own", operation="write"))[4]
    assert (info["cost/teacher/tokens"] > 100).all()  # it reads a character a token
    assert all(any(event["what"] == "plan" for event in events) for events in envs.session.events)
