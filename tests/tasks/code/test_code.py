"""The programming task: every program against plain Python, no leak between splits, a verifier nobody talks round."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kdgym import random
from kdgym.tasks import SPLITS, make_task
from kdgym.tasks.code.executions import FAILED, UNSEEN, signature
from kdgym.tasks.code.pipelines import INPUTS, LINES, ORDERS, STEPS, TYPES, hidden_inputs
from kdgym.tasks.code.task import Code
from kdgym.testing import check_splits

pytestmark = pytest.mark.slow

TABLES = ("prompt", "solution", "answer", "skill_of", "meaning")


@pytest.fixture(scope="module")
def task() -> Code:
    """The task as environments use it."""
    task = make_task("Code")
    assert isinstance(task, Code)
    return task


def answer(*lines: str) -> list[int]:
    """Tokens of an answer with these lines."""
    return [LINES.index(line) + 1 for line in lines] + [0] * (3 - len(lines))


def tokens_of(task: Code, problem: int) -> dict[int, str]:
    words = dict.fromkeys(word for step in STEPS for word in step.words)
    names = ["", *LINES, *"123", *TYPES, *(word for order in ORDERS for word in order), *words]
    assert len(names) == task.vocabulary
    return dict(enumerate(names))


def find(task: Code, skill: str, *lines: str) -> int:
    """A problem of ``skill`` whose solution has these lines."""
    same = (task.answer[task.solution] == torch.tensor(answer(*lines))).all(1)
    index = [skill.name for skill in task.skills].index(skill)
    return int((same & (task.skill_of == index)).nonzero()[0])


def sample(n: int, size: int, seed: int = 0) -> Tensor:
    return random.integers(torch.tensor(seed), n, size)


def in_python(program: str, inputs: Any) -> int:
    """Signature of one of our own programs, run by Python itself."""
    names: dict[str, Callable[[Any], Any]] = {}
    exec(program, names)
    return signature([names["f"](list(x) if isinstance(x, list) else x) for x in inputs])


def type_of(task: Code, problem: int) -> int:
    text = task.text(problem)
    return 2 if "takes a list" in text else 1 if "takes a string" in text else 0


# --- tables ------------------------------------------------------------------------------------------------------


def test_every_program_does_in_the_sandbox_what_it_does_in_python(task: Code) -> None:
    batteries = hidden_inputs(task.version)
    _, first = torch.unique(task.solution, return_inverse=True)
    problem_of = dict(zip(first.tolist(), range(len(first)), strict=True))
    assert len(problem_of) == len(task.answer)
    for number, problem in problem_of.items():
        program = task.answer_text(number)
        assert in_python(program, batteries[type_of(task, problem)]) == task.meaning[problem], program


def test_every_solution_is_right(task: Code) -> None:
    assert task.judge(torch.arange(len(task.prompt)), task.answer[task.solution]).all()


def test_every_solution_is_one_of_the_answers_of_its_skill(task: Code) -> None:
    start, count = task.answer_pool.start[task.skill_of], task.answer_pool.count[task.skill_of]
    assert (start <= task.solution).all() and (task.solution < start + count).all()
    assert (task.answer_pool.count >= 2).all() and int(task.answer_pool.count.sum()) == len(task.answer)


def test_the_answers_of_a_skill_are_distinct(task: Code) -> None:
    for start, count in zip(task.answer_pool.start.tolist(), task.answer_pool.count.tolist(), strict=True):
        assert len(task.answer[start : start + count].unique(dim=0)) == count


def test_few_wrong_answers_are_right_by_chance(task: Code) -> None:
    """A random other answer of the skill is what a bad source teaches."""
    problem = sample(4096, len(task.prompt))
    skill = task.skill_of[problem]
    other = task.answer_pool.start[skill] + random.integers(problem, 1, task.answer_pool.count[skill, None])[:, 0]
    assert task.judge(problem, task.answer[other]).float().mean() < 0.05


def test_shapes_and_sizes(task: Code) -> None:
    assert task.prompt.shape[1] <= 8 and task.answer.shape[1] == 3 and task.vocabulary <= 128
    assert len(task.prompt) <= 50_000 and len(task.skills) >= 10
    assert task.free_form
    used = torch.cat([task.prompt.flatten(), task.answer.flatten()]).unique()
    assert torch.equal(used, torch.arange(task.vocabulary))
    assert task.answer.max() <= len(LINES) and all(len(battery) == INPUTS for battery in hidden_inputs(0))


def test_every_prompt_is_asked_once(task: Code) -> None:
    assert len(task.prompt.unique(dim=0)) == len(task.prompt)


def test_a_prompt_spells_its_steps_in_either_order(task: Code) -> None:
    """Read back from the tokens alone, with the type of the value at each step known from what came before."""
    for problem in sample(500, len(task.prompt)).tolist():
        names = tokens_of(task, problem)
        given, order, *rest = (names[token] for token in task.prompt[problem].tolist())
        asked = [(word, number) for word, number in zip(rest[::2], rest[1::2], strict=True) if word]
        if order in ORDERS[1]:
            asked.reverse()
        steps = [STEPS[step] for step in task.steps[problem].tolist() if step < len(STEPS)]
        assert given == TYPES[type_of(task, problem)]
        assert bool(order) == (len(steps) > 1)
        for (word, number), step in zip(asked, steps, strict=True):
            assert word in step.words and number == str(step.argument or "")


# --- skills and splits -------------------------------------------------------------------------------------------


def test_prerequisites_exist_and_have_no_cycle(task: Code) -> None:
    graph = {skill.name: skill.prerequisites for skill in task.skills}
    assert len(graph) == len(task.skills)
    assert set(TopologicalSorter(graph).static_order()) == set(graph)


def test_nothing_that_means_the_same_is_in_two_splits(task: Code) -> None:
    split = torch.full_like(task.solution, -1)
    for i, name in enumerate(SPLITS):
        pool = task.pool(name)
        for skill, (start, count) in enumerate(zip(pool.start.tolist(), pool.count.tolist(), strict=True)):
            assert (split[start : start + count] == -1).all()
            assert (task.skill_of[start : start + count] == skill).all()
            split[start : start + count] = i
    assert (split >= 0).all(), "a problem is in no split"
    both = torch.stack([task.meaning, split], 1).unique(dim=0)
    assert len(both) == len(task.meaning.unique())
    share = both[:, 1].bincount() / len(both)
    assert share.tolist() == pytest.approx([0.70, 0.15, 0.15], abs=0.03)


def test_every_skill_has_enough_problems_in_every_split(task: Code) -> None:
    for split, least in zip(SPLITS, (500, 100, 100), strict=True):
        pool = task.pool(split)
        assert (pool.count >= least).all()
        for start, count in zip(pool.start.tolist(), pool.count.tolist(), strict=True):
            assert len(task.meaning[start : start + count].unique()) >= 6


@pytest.mark.thorough
def test_the_public_check_of_splits_passes(task: Code) -> None:
    check_splits(task)


def test_no_problem_is_solved_by_doing_nothing_or_by_a_constant(task: Code) -> None:
    problem = torch.arange(len(task.prompt))
    assert not task.judge(problem, torch.zeros(len(problem), 3, dtype=torch.int64)).any()
    for problem_, program in ((0, "return 0"), (5000, "return True"), (12_000, 'return ""'), (20_000, "return []")):
        assert not task.verify(problem_, f"def f(x): {program}")


# --- judging tokens ----------------------------------------------------------------------------------------------


def test_judge_and_verify_agree_on_random_programs(task: Code) -> None:
    problem = sample(300, len(task.prompt))
    tokens = random.integers(torch.tensor(1), 900, len(LINES) + 1).view(300, 3)
    tokens[:60] = task.answer[task.solution[problem[:60]]].flip(1)  # the right lines in the wrong order
    judged = task.judge(problem, tokens)
    for p, row, right in zip(problem.tolist(), tokens.tolist(), judged.tolist(), strict=True):
        lines = [LINES[token - 1] for token in row[: (*row, 0).index(0)]]
        program = "".join(["def f(x):\n", *(f"    x = {line}\n" for line in lines), "    return x\n"])
        assert task.verify(p, program) is right, program


@pytest.mark.parametrize(
    ("skill", "lines", "other", "right"),
    [
        ("arithmetic", ("x + 1", "x + 2"), ("x + 2", "x + 1"), True),
        ("arithmetic", ("x + 1", "x + 2"), ("x + 3",), True),
        ("arithmetic", ("x + 1", "x * 2"), ("x * 2", "x + 2"), True),
        ("arithmetic", ("x + 1", "x * 2"), ("x * 2", "x + 1"), False),
        ("reduce_after_map", ("[v * 2 for v in x]", "sum(x)"), ("sum(x)", "x * 2"), True),
        ("reduce_after_map", ("[v + 2 for v in x]", "sum(x)"), ("sum(x)", "x + 2"), False),
        ("ordering", ("sorted(x)", "x[::-1]"), ("sorted(x, reverse=True)",), True),
        ("ordering", ("sorted(x)", "x[::-1]"), ("sorted(x)",), False),
        ("arithmetic", ("x + 1",), ("x.upper()",), False),
        ("comparison", ("x > 1",), ("x > 1", "x + 1"), False),
    ],
)
def test_whatever_does_the_same_is_right(
    task: Code, skill: str, lines: tuple[str, ...], other: tuple[str, ...], right: bool
) -> None:
    problem = find(task, skill, *lines)
    assert bool(task.judge(torch.tensor(problem), torch.tensor(answer(*other)))) is right


def test_what_follows_the_end_is_not_read(task: Code) -> None:
    problem, token = find(task, "arithmetic", "x + 1"), answer("x + 1")[0]
    tokens = torch.tensor([[token, 0, token], [token, 0, task.vocabulary - 1], [0, token, 0], [token, token, 0]])
    assert task.judge(torch.tensor([problem] * 4), tokens).tolist() == [True, True, False, False]


def test_a_word_is_not_a_line(task: Code) -> None:
    problem, token = find(task, "arithmetic", "x + 1"), answer("x + 1")[0]
    rows = [[word, 0, 0] for word in range(len(LINES) + 1, task.vocabulary)]
    rows += [[token, task.vocabulary - 1, 0], [token, -1, 0], [token, 10**9, 0]]
    before = task._executions.executed
    assert not task.judge(torch.full((len(rows),), problem), torch.tensor(rows)).any()
    assert task._executions.executed <= before + 1


def test_judge_keeps_the_shape(task: Code) -> None:
    problem = torch.arange(12).view(2, 3, 2)
    assert task.judge(problem, task.answer[task.solution[problem]]).shape == (2, 3, 2)
    assert task.judge(problem[:0], task.answer[task.solution[problem[:0]]]).shape == (0, 3, 2)


# --- the table of executions -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache, filled by one task."""
    folder = tmp_path_factory.mktemp("programs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDGYM_CACHE", str(folder))
        assert Code()._executions.executed > 5000
    return folder


@pytest.fixture
def fresh(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that cache, for this test alone."""
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("KDGYM_CACHE", str(tmp_path))
    (path,) = tmp_path.glob("programs/*.safetensors")
    return path


def unseen(task: Code) -> tuple[Tensor, Tensor]:
    """A thousand problems with programs nobody ran."""
    table = task._executions._table[: (len(LINES) + 1) ** 3]
    program = (table == UNSEEN).nonzero()[:1000, 0]
    tokens = program[:, None] // torch.from_numpy(task._place) % (len(LINES) + 1)
    return torch.zeros(len(program), dtype=torch.int64), tokens


@pytest.mark.thorough
@pytest.mark.usefixtures("fresh")
def test_a_program_is_executed_once_and_for_all_processes() -> None:
    task = Code()
    assert task._executions.executed == 0
    problem, tokens = unseen(task)
    first = task.judge(problem, tokens)
    executed = task._executions.executed
    assert 0 < executed <= len(tokens)
    assert torch.equal(task.judge(problem, tokens), first) and task._executions.executed == executed
    again = Code()
    assert torch.equal(again.judge(problem, tokens), first)
    assert again._executions.executed == 0


@pytest.mark.thorough
def test_two_writers_keep_what_the_other_wrote(fresh: Path) -> None:
    one, two = Code(), Code()
    (problem, tokens), executions = unseen(one), []
    for task, part in ((one, slice(0, 500)), (two, slice(500, 1000))):
        task.judge(problem[part], tokens[part])
        task._executions.save()
        executions.append(task._executions.executed)
    both = Code()
    both.judge(problem, tokens)
    assert both._executions.executed == 0 and min(executions) > 0, fresh


EXECUTE = """
import torch
from kdgym.tasks.code.task import Code
from kdgym.tasks.code.executions import UNSEEN
executions = Code()._executions
new = (executions._table[:executions._programs] == UNSEEN).nonzero()[:{many}, 0]
for program in new:
    executions.signatures(torch.tensor(0), program)
    {then}
"""


@pytest.mark.thorough
@pytest.mark.usefixtures("fresh")
def test_what_was_executed_is_kept_when_a_process_ends() -> None:
    before = Code()._executions._table
    subprocess.run([sys.executable, "-c", EXECUTE.format(many=100, then="pass")], check=True)
    assert int((Code()._executions._table != before).sum()) == 100


@pytest.mark.thorough
@pytest.mark.usefixtures("fresh")
def test_a_kill_while_the_cache_is_written_damages_nothing(task: Code) -> None:
    command = [sys.executable, "-c", EXECUTE.format(many=10_000, then="executions.save(); print('saved', flush=True)")]
    seen = int((Code()._executions._table != UNSEEN).sum())
    for lines in (1, 2, 7):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(lines):
                assert writer.stdout.readline() == b"saved\n"
            writer.kill()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table = Code()._executions._table
        assert int((table != UNSEEN).sum()) >= seen + lines
        seen = int((table != UNSEEN).sum())
    place = (table[: task._executions._programs] != UNSEEN).nonzero()[:, 0]
    assert torch.equal(task._executions.signatures(torch.tensor(0), place), table[place])


@pytest.mark.thorough
@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: content[:-1] + b"?"])
def test_a_damaged_cache_is_reported_and_rebuilt(fresh: Path, damage: Callable[[bytes], bytes], task: Code) -> None:
    fresh.write_bytes(damage(fresh.read_bytes()))
    with pytest.warns(RuntimeWarning, match="executed again"):
        again = Code()
    assert again._executions.executed > 5000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Code()._executions.executed == 0
    for name in TABLES:
        assert torch.equal(getattr(task, name), getattr(again, name))


def test_a_failure_is_not_a_signature(task: Code) -> None:
    assert (task.meaning >= 0).all() and FAILED < 0 and UNSEEN < 0


DIGEST = """
import hashlib
from kdgym.tasks.code.task import Code
task = Code()
print(hashlib.sha256(b"".join(getattr(task, name).numpy().tobytes() for name in {tables})).hexdigest())
"""


@pytest.mark.thorough
def test_a_task_is_the_same_in_every_process(task: Code, tmp_path: Path) -> None:
    own = hashlib.sha256(b"".join(getattr(task, name).numpy().tobytes() for name in TABLES)).hexdigest()
    environment = {"KDGYM_CACHE": str(tmp_path), "PYTHONHASHSEED": "7", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", DIGEST.format(tables=TABLES)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == [own]


@pytest.mark.parametrize("paraphrases", [0, 1, 9])
def test_a_number_of_paraphrases_out_of_range_is_refused(paraphrases: int) -> None:
    with pytest.raises(ValueError, match=f"paraphrases is {paraphrases}"):
        make_task("Code", paraphrases=paraphrases)
