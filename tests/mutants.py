"""Mutation testing: a seeded sample of small changes to rules, objectives and the ledger, each of which a test has to notice.

cosmic-ray makes the mutants. Each is tried in a copy of the tree, by a process of its own and the tests of its module; the
working tree is never touched. What was found is kept in ``runs/mutants``, so an interrupted run goes on where it was: a
mutant that was killed stays killed, and a survivor is tried again when its tests have changed. Run it by ``make mutants``.
"""

from __future__ import annotations

import argparse
import compileall
import difflib
import hashlib
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "runs" / "mutants"
WANTED = 0.85  # share of the sample that has to be killed
PARTS = ("kdgym", "agents", "envs", "studies", "tests", "pyproject.toml")
# What takes long to import and has no mutants: imported once, and inherited by every process.
SLOW_IMPORTS = (
    "hypothesis",
    "pettingzoo",
    "sb3_contrib",
    "scipy.stats",
    "sklearn.cluster",
    "stable_baselines3",
    "torch",
)
# Replacements that a reader could overlook. Those that any run would crash on, such as + by >>, would flatter the result.
OPERATORS = (
    *(
        f"ReplaceBinaryOperator_{pair}"
        for pair in ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_Mul")
    ),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("Pow_Mul", "BitOr_BitAnd", "BitAnd_BitOr")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Lt_GtE", "LtE_Gt", "Gt_LtE", "GtE_Lt")),
    *(f"ReplaceUnaryOperator_{pair}" for pair in ("USub_UAdd", "Delete_Invert", "Delete_Not")),
    *("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "NumberReplacer", "ZeroIterationForLoop"),
)
# Module -> arguments of pytest, the fastest first. Rules of agents are added by `modules`.
TESTED = {
    "kdgym/students/control/actor_critic.py": [
        "tests/students/control/test_actor_critic.py",
        "tests/students/control/test_rollouts.py",
    ],
    "kdgym/students/control/rollouts.py": ["tests/students/control/test_rollouts.py"],
    "kdgym/students/adamw.py": ["tests/students/test_adamw.py", "tests/students/control/test_actor_critic.py"],
    "kdgym/students/policy_gradient.py": ["tests/students/test_policy_gradient.py"],
    "kdgym/core/ledger.py": ["tests/core/test_ledger.py", "tests/core/test_population.py"],
    "kdgym/core/validation.py": ["tests/core/test_validation.py", "tests/core/test_population.py"],
    "envs/datagen/data_engines.py": ["tests/envs/datagen/test_data_engines.py", "tests/envs/datagen/test_market.py"],
}


@dataclass(frozen=True)
class Mutant:
    """A module with one change.

    Attributes:
        path: of the module.
        operator: of cosmic-ray.
        source: of the changed module.
        change: the lines that differ, for reading.
    """

    path: str
    operator: str
    source: str
    change: str

    @property
    def key(self) -> str:
        return hashlib.sha256(f"{self.path}\n{self.source}".encode()).hexdigest()[:16]


def modules() -> dict[str, list[str]]:
    """Every module with mutants and the arguments of pytest that test it; rules are agents that are not trained."""
    folder, found = ROOT / "tests" / "agents", dict(TESTED)
    quick = {
        path: path.read_text() for path in (*sorted(folder.glob("test_*_rules.py")), folder / "test_candidates.py")
    }
    for agent in sorted((ROOT / "agents").glob("*/*.py")):
        if "\ndef train(" in agent.read_text():
            continue
        tests = [str(path.relative_to(ROOT)) for path, text in quick.items() if f'"{agent.stem}"' in text]
        if not tests and agent.stem in (folder / "test_upper_bounds.py").read_text():
            tests = ["tests/agents/test_upper_bounds.py", "-k", agent.stem]
        if tests:
            found[str(agent.relative_to(ROOT))] = tests
    return found


def places(path: str) -> list[tuple[str, str, int]]:
    """All changes that can be made to a module: path, operator, number of the place."""
    source, found = (ROOT / path).read_text(), []
    nodes, lines = list(ast_nodes(get_ast(source))), source.splitlines()
    for name in OPERATORS:
        operator = get_operator(f"core/{name}")()
        positions = [start for node in nodes for start, _ in operator.mutation_positions(node)]
        for occurrence, (line, _) in enumerate(positions):
            if "def __init__(self, observation_space" not in lines[line - 1]:  # any number will do as a default seed
                found.append((path, name, occurrence))
    return found


def sample(paths: list[str], size: int, seed: int) -> list[Mutant]:
    """So many of all mutants of these modules, drawn without replacement, module by module."""
    everything = [place for path in paths for place in places(path)]
    chosen = np.random.default_rng(seed).choice(len(everything), min(size, len(everything)), replace=False)
    print(f"{len(chosen)} of {len(everything)} mutants of {len(paths)} modules, seed {seed}", flush=True)  # noqa: T201
    return [made(*everything[i]) for i in sorted(chosen)]


def made(path: str, name: str, occurrence: int) -> Mutant:
    source = (ROOT / path).read_text()
    changed = mutate_code(source, get_operator(f"core/{name}")(), occurrence)
    lines = difflib.unified_diff(source.splitlines(), changed.splitlines(), lineterm="", n=0)
    return Mutant(path, name, changed, "\n".join(line for line in lines if not line.startswith(("---", "+++"))))


def noticed(tree: Path, arguments: list[str], seconds: int) -> bool:
    """Whether tests fail, or take more than so many seconds of processor time, in a process that has imported nothing of ours.

    Raises:
        RuntimeError: pytest found nothing to run.
    """
    child = os.fork()
    if child == 0:
        signal.setitimer(signal.ITIMER_PROF, seconds)  # its signal ends the process
        sys.dont_write_bytecode = True  # of mutants; that of the rest is there, see `copied`
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        os.chdir(tree)
        sys.path[:0] = [str(tree)]
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        os._exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *arguments]))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise RuntimeError(
            f"pytest {' '.join(arguments)} ran no test (exit code {code}); look at TESTED in {__file__}."
        )
    return code != 0


def copied(folder: Path) -> Path:
    """The tree as it looks installed: agents and envs are packages within kdgym."""
    for part in PARTS:
        source = ROOT / part
        copy = shutil.copy2 if source.is_file() else shutil.copytree
        copy(source, folder / part)
    for name in ("agents", "envs", "studies"):
        (folder / "kdgym" / name).symlink_to(folder / name)
    compileall.compile_dir(folder, quiet=2)
    return folder


def read(path: Path) -> dict[str, dict[str, object]]:
    """What earlier runs found, by mutant; the last counts."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {record["key"]: record for record in map(json.loads, lines)}


def digest(tree: Path, arguments: list[str]) -> str:
    """Of the tests of a module."""
    files = [tree / name for name in arguments if name.endswith(".py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def tried(tree: Path, chosen: list[Mutant], tests: dict[str, list[str]]) -> list[Mutant]:
    """The mutants that no test noticed; what is known of earlier runs is not tried again."""
    KEPT.mkdir(parents=True, exist_ok=True)
    known, limits, survivors = read(KEPT / "results.jsonl"), dict[str, int](), []
    for number, mutant in enumerate(chosen, start=1):
        path, arguments = mutant.path, tests[mutant.path]
        record = known.get(mutant.key)
        if record is None or not (record["killed"] or record["tests"] == digest(tree, arguments)):
            command = " ".join(arguments)
            limits[command] = limits.get(command) or limit(tree, arguments)
            (tree / path).write_text(mutant.source)
            record = {
                "key": mutant.key,
                "killed": noticed(tree, arguments, limits[command]),
                "tests": digest(tree, arguments),
            }
            (tree / path).write_text((ROOT / path).read_text())
            with (KEPT / "results.jsonl").open("a") as results:
                results.write(json.dumps(record) + "\n")
            print(f"{number:4} {'killed' if record['killed'] else 'SURVIVED':8} {path} {mutant.operator}", flush=True)  # noqa: T201
        if not record["killed"]:
            survivors.append(mutant)
    return survivors


def limit(tree: Path, arguments: list[str]) -> int:
    """Seconds of processor time after which a mutant counts as noticed: it made the tests five times as long.

    Raises:
        RuntimeError: the tests fail without a mutant.
    """
    before = os.times().children_user
    if noticed(tree, arguments, 600):
        raise RuntimeError(f"pytest {' '.join(arguments)} fails without a mutant, or takes ten minutes.")
    return 10 + 5 * int(os.times().children_user - before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=200, help="number of mutants")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--only", default="", help="modules whose path contains this")
    options = parser.parse_args()
    os.environ.setdefault("KDGYM_TEST_CACHE", str(KEPT / "cache"))
    for name in SLOW_IMPORTS:
        importlib.import_module(name)
    tests = {path: arguments for path, arguments in modules().items() if options.only in path}
    chosen = sample(list(tests), options.sample, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        survivors = tried(copied(Path(folder)), chosen, tests)
    for mutant in survivors:
        print(f"\n{mutant.path}  {mutant.operator}\n{mutant.change}")  # noqa: T201
    share = 1 - len(survivors) / len(chosen)
    print(f"\n{len(chosen) - len(survivors)} of {len(chosen)} killed: {share:.1%}; {WANTED:.0%} are wanted.")  # noqa: T201
    return 0 if share >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
