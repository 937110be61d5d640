"""Untrusted programs: every attack is a failure, the next honest program runs, and nothing is right by trickery."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from kdgym.sandbox import Failure, Sandbox, is_plain

HONEST = "def f(x):\n    return sorted(x)[::-1]\n"
ATTACKS = {
    "endless loop": ("def f(x):\n    while True: pass", "time"),
    "endless loop at the top": ("while True: pass", "time"),
    "loop that catches its own end": (
        "def f(x):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass",
        "time",
    ),
    "loop in finally": (
        "def f(x):\n    try:\n        while True: pass\n    finally:\n        while True: pass",
        "time",
    ),
    "endless prints of nothing": ("def f(x):\n    while True: print(end='')", "time"),
    "sum of too many": ("def f(x): return max(range(10**12))", "time"),
    "endless recursion": ("def f(x): return f(x)", "recursion"),
    "recursion through finally": ("def f(x):\n    try:\n        f(x)\n    finally:\n        f(x)", "time"),
    "memory by list": ("def f(x): return [0] * 10**10", "memory"),
    "memory by doubling": ("def f(x):\n    while True: x = x + x", "memory"),
    "memory by string": ("def f(x): return 'a' * 10**11", "memory"),
    "memory by power": ("def f(x): return 9**9**9**9", "memory"),
    "memory by shift": ("def f(x): return 1 << 10**11", "memory"),
    "memory by format": ("def f(x): return f'{1:99999999999}'", "memory"),
    "memory by join": ("def f(x): return ','.join(['a' * 10**6] * 10**6)", "memory"),
    "memory by nesting": ("def f(x):\n    for _ in range(10**8): x = [x, x]\n    return x", "memory"),
    "generator bomb": ("def f(x): return list(1 for _ in iter(int, 1))", "memory"),
    "sort key": ("def f(x): return sorted(range(10**9), key=lambda v: -v)", "memory"),
    "huge result": ("def f(x): return 'a' * 10**7", "memory"),
    "huge number": ("def f(x): return 10**5000", "error"),
    "print flood": ("def f(x):\n    while True: print('a' * 1000)", "memory"),
    "catastrophic regex": (
        "import re\ndef f(x): return bool(re.match(r'(a+)+\\1$', 'a' * 30 + 'b'))",
        "error",
    ),
    "open": ("def f(x): return open('/etc/passwd').read()", "error"),
    "import at the top": ("import subprocess\ndef f(x): return x", "error"),
    "os.system": ("import os\ndef f(x): return os.system('true')", "error"),
    "os.listdir": ("import os\ndef f(x): return os.listdir('/')", "error"),
    "environment": ("import os\ndef f(x): return dict(os.environ)", "error"),
    "socket": ("import socket\ndef f(x): return x", "error"),
    "sys.exit": ("import sys\ndef f(x): return sys.exit(0)", "error"),
    "ctypes": ("import ctypes\ndef f(x): return x", "error"),
    "SystemExit": ("def f(x): raise SystemExit", "error"),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", "error"),
    "__builtins__": ("def f(x): return __builtins__", "error"),
    "__subclasses__": ("def f(x): return ().__class__.__base__.__subclasses__()", "error"),
    "__globals__": ("def f(x): return f.__globals__", "error"),
    "eval": ("def f(x): return eval(\"__import__('os').system('true')\")", "error"),
    "exec": ("def f(x): exec('import subprocess')", "error"),
    "compile": ("def f(x): return eval(compile('import socket', '', 'exec'))", "error"),
    "names of nobody": ("def f(x): return expected", "error"),
    "no function": ("x = 1", "error"),
    "f is no function": ("f = 1", "error"),
    "two arguments": ("def f(x, y): return x", "error"),
    "hostile __str__": (
        "class E(Exception):\n    def __str__(self):\n        while True: pass\ndef f(x): raise E()",
        "error",
    ),
    "deep source": ("def f(x): return " + "(" * 5000 + "1" + ")" * 5000, "syntax"),
    "deep lists in the source": ("def f(x): return " + "[" * 100_000 + "]" * 100_000, "syntax"),
    "many signs": ("def f(x): return " + "-" * 100_000 + "1", "syntax"),
    "null byte": ("def f(x): return 1\x00", "syntax"),
    "lone surrogate": ("def f(x): return '\ud800'", "syntax"),
    "look-alike letters": ("d\u0435f f(x): return x", "syntax"),
    "invisible blank": ("def f(x):\u200b return x", "syntax"),
    "prose": ("Here is the function you asked for.", "syntax"),
    "unclosed string": ("def f(x): return '''", "syntax"),
    "equal to everything": ("class A:\n    def __eq__(self, other): return True\ndef f(x): return A()", "result"),
    "written like a number": ("class A:\n    def __repr__(self): return '1'\ndef f(x): return [A()]", "result"),
    "a function": ("def f(x): return f", "result"),
    "a range": ("def f(x): return range(3)", "result"),
    "keys": ("def f(x): return {1: 2}.keys()", "result"),
    "a type": ("def f(x): return int", "result"),
    "a coroutine": ("async def f(x): return x", "result"),
    "a set": ("def f(x): return set(x)", "result"),
    "a cycle": ("def f(x):\n    a = []\n    a.append(a)\n    return a", "result"),
    "a deep result": ("def f(x):\n    for _ in range(100000): x = [x]\n    return x", "result"),
    "a result that changes": ("kept = []\ndef f(x):\n    kept.append(1)\n    return kept", "result"),
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seconds=0.3) as sandbox:
        yield sandbox


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_fails_and_the_next_program_runs(sandbox: Sandbox, name: str) -> None:
    program, reason = ATTACKS[name]
    attack, honest = sandbox.run([program, HONEST], [[[1, 2, 3], [4]], [[1, 3, 2], []]])
    assert isinstance(attack, Failure)
    # On a busy machine the clock may stop what would have run out of memory.
    assert attack.reason in ({"memory", "time"} if reason == "memory" else {reason}), attack
    assert honest == [[3, 2, 1], []]


@pytest.mark.parametrize(
    "program",
    [
        "inputs = [7]\ndef f(x): return x",
        "def f(x):\n    global inputs\n    inputs = []\n    return x",
        "def f(x):\n    global v, x_\n    v = x_ = 7\n    return x",
        "def repr(x): return 'fooled'\nstr = type = len = isinstance = repr\ndef f(x): return x",
        "import time\ntime.sleep(1000)\ndef f(x): return x",
        "print('hello')\ndef f(x): return x",
        "f = lambda x: x",
    ],
    ids=["inputs", "inputs in f", "names of the call", "builtins", "sleep", "prints", "lambda"],
)
def test_overwriting_names_changes_nothing(sandbox: Sandbox, program: str) -> None:
    assert sandbox.run([program], [[1, "a", [True]]]) == [[1, "a", [True]]]


def test_emptying_the_inputs_fails(sandbox: Sandbox) -> None:
    (outcome,) = sandbox.run(["def f(x):\n    inputs.clear()\n    return x"], [[1, 2]])
    assert isinstance(outcome, Failure) and outcome.reason == "result"


@pytest.mark.parametrize(
    "value", [0, -5, True, False, 1.0, "", "a'b\"c\n", "\u00e9", None, [], [[1], "x"], (1, 2), [()]]
)
def test_plain_data_arrives_with_its_exact_type(sandbox: Sandbox, value: object) -> None:
    (outcome,) = sandbox.run([f"def f(x): return {value!r}"], [[0]])
    assert isinstance(outcome, list) and repr(outcome) == repr([value])


def test_programs_share_nothing(sandbox: Sandbox) -> None:
    outcome = sandbox.run(["secret = 1\ndef f(x): return x", "def f(x): return secret"], [[0], [0]])
    assert outcome[0] == [0] and isinstance(outcome[1], Failure)


def test_time_and_chance_are_the_same_every_time(sandbox: Sandbox) -> None:
    program = "import random, time\ndef f(x): return [random.random(), time.time(), hash('a')]"
    first, second = sandbox.run([program] * 2, [[0, 1]] * 2)
    with Sandbox() as other:
        assert [first] == [second] == other.run([program], [[0, 1]])


def test_killed_workers_are_replaced_in_the_middle_of_a_batch(processes: Callable[[], set[int]]) -> None:
    before, done = processes(), threading.Event()
    killed: set[int] = set()

    def kill() -> None:
        while len(killed) < 4 and not done.is_set():
            for worker in processes() - before - killed:
                os.kill(worker, signal.SIGKILL)
                killed.add(worker)
            done.wait(0.05)

    with Sandbox() as sandbox:
        sandbox.run([HONEST], [[[1]]])
        thread = threading.Thread(target=kill)
        thread.start()
        outcomes = []
        while thread.is_alive() and len(outcomes) < 100_000:
            outcomes += sandbox.run([HONEST] * 100, [[[2, 1, 3]]] * 100)
        done.set()
        thread.join()
    assert len(killed) == 4
    assert all(outcome == [[3, 2, 1]] for outcome in outcomes)


def test_closing_ends_the_workers_and_running_starts_them_again() -> None:
    sandbox = Sandbox()
    for _ in range(2):
        assert sandbox.run([HONEST], [[[1, 2]]]) == [[[2, 1]]]
        sandbox.close()
        sandbox.close()


FORK = """
import os
from kdgym.sandbox import Sandbox
sandbox = Sandbox()
sandbox.run(["def f(x): return x"], [[1]])
child = os.fork()
if child == 0:
    try:
        Sandbox().run(["def f(x): return x"], [[1]])
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(sandbox.run(["def f(x): return x"], [[1]]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_is_refused_instead_of_hanging() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True, timeout=60)
    assert "'spawn'" in done.stdout and done.stdout.endswith("[[1]]\n")


@pytest.mark.parametrize("limits", [{"seconds": 0}, {"memory": -1}, {"recursion": 0}, {"seconds": float("nan")}])
def test_a_limit_that_is_none_is_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="a limit is larger than 0"):
        Sandbox(**limits)


def test_inputs_and_programs_must_match(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="There are 1 programs and 2 lists"):
        sandbox.run([HONEST], [[], []])
    with pytest.raises(ValueError, match="not plain data"):
        sandbox.run([HONEST], [[object()]])


def test_nothing_to_run(sandbox: Sandbox) -> None:
    assert sandbox.run([], []) == []
    assert sandbox.run([HONEST], [[]]) == [[]]


class Number(int):
    """An integer that is not exactly one."""


@pytest.mark.parametrize("value", [Number(1), {1}, {1: 2}, b"a", [Number(1)], object(), range(3)])
def test_only_exact_types_are_plain(value: object) -> None:
    assert not is_plain(value)
