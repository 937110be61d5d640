"""Hostile agents: what they try is refused or contained, the verifier goes on, and it is the sandbox that does it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import kdgym  # noqa: F401  # registers the environments
from kdgym.evaluation import encoding, load_agent, teach
from kdgym.leaderboard.sandbox.agent_sandbox import AgentSandbox, AgentSandboxError, Limits
from kdgym.leaderboard.sandbox.wire import pack, unpack
from kdgym.spaces import space_from_plain, space_to_plain
from tests.tiers import tiered

pytestmark = pytest.mark.slow

ID = "kdgym/DataGen-Math-v0"
SHORT = Limits(start=60, act=4, cpu=60, disk=2**20)

AGENT = """
import numpy as np

class Agent:
    def __init__(self, observation_space, action_space, seed=0):
        self.action_space = action_space
{setup}

    def act(self, observation):
{act}
        return np.zeros((len(observation["time"]), self.action_space.shape[0]), np.float32)
"""


def code(act: str = "pass", setup: str = "pass") -> str:
    indented = [("\n" + part).replace("\n", "\n        ").lstrip("\n") for part in (setup, act)]
    return AGENT.format(setup=indented[0], act=indented[1])


@pytest.fixture(scope="module")
def envs() -> Any:
    return gym.make_vec(ID, num_envs=2, autoreset=False, steps=2, budget=80, validation_items=2).unwrapped


@pytest.fixture(scope="module", autouse=True)
def sandbox(envs: Any) -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    try:
        AgentSandbox("random", (envs.single_observation_space, envs.single_action_space)).close()
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture
def sandboxed(envs: Any, tmp_path: Path) -> Callable[..., AgentSandbox]:
    def make(source: str, limits: Limits = SHORT, weights: Path | None = None) -> AgentSandbox:
        file = tmp_path / "hostile.py"
        file.write_text(source)
        return AgentSandbox("", (envs.single_observation_space, envs.single_action_space), file, weights, limits)

    return make


@pytest.fixture
def seen(envs: Any) -> Any:
    observation, _ = envs.reset(seed=0)
    return observation


@pytest.mark.thorough
def test_packaged_agents_do_there_what_they_do_here(envs: Any, seen: Any) -> None:
    spaces = envs.single_observation_space, envs.single_action_space
    for name in ("target_proportional", "adaptive_source", "random"):
        here = load_agent(name, envs)
        with AgentSandbox(name, spaces) as there:
            for agent in (here, there):
                if hasattr(agent, "reset"):
                    agent.reset(seen)
            np.testing.assert_array_equal(there.act(seen), here.act(seen))


BANDIT = """
import numpy as np

class Agent:
    def __init__(self, observation_space, action_space, seed=0):
        self.action_space = action_space

    def reset(self, observation):
        self.paid = np.zeros(observation["target"].shape)
        self.skill = observation["target"].argmax(1)

    def act(self, observation):
        weights = np.eye(self.paid.shape[1])[self.skill] + np.exp(8 * self.paid)
        return self.action_space.encode(weights.repeat(self.action_space.shape[0] // weights.shape[1], axis=1))

    def after_step(self, reward, done):
        assert reward.dtype == np.float64 and done.dtype == bool and reward.shape == done.shape
        self.paid[np.arange(len(reward)), self.skill] += reward
        self.skill = (self.skill + 1 + done) % self.paid.shape[1]
"""


def test_a_bandit_is_told_its_rewards_there_as_here(
    sandboxed: Callable[..., AgentSandbox], envs: Any, tmp_path: Path
) -> None:
    with sandboxed(BANDIT) as there:
        _, far = teach(envs, there, 3)
    _, near = teach(envs, load_agent(str(tmp_path / "hostile.py"), envs), 3)
    np.testing.assert_array_equal(far, near)
    deaf = load_agent(str(tmp_path / "hostile.py"), envs)
    monkey: Any = deaf
    monkey.after_step = lambda reward, done: None
    assert not np.array_equal(teach(envs, deaf, 3)[1], near)


CANARY = """
import os, socket
found = []
for name, attempt in {
    "file": lambda: open(PATH).read(),
    "home": lambda: os.listdir(os.path.expanduser("~root")),
    "secret": lambda: os.environ["KDGYM_VERIFIER_KEY"],
    "network": lambda: socket.create_connection(("127.0.0.1", PORT), 2).close(),
    "kill": lambda: os.kill(PARENT, 0),
    "write": lambda: open(PATH + ".new", "w").write("x"),
}.items():
    try:
        attempt()
        found.append(name)
    except (OSError, KeyError):
        continue
raise ValueError("reached: " + ",".join(found))
"""


def test_the_sandbox_is_really_on(
    sandboxed: Callable[..., AgentSandbox], seen: Any, envs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same code reaches everything without it, and nothing within."""
    import socket

    secret = tmp_path / "secret.txt"
    secret.write_text("the test split")
    monkeypatch.setenv("KDGYM_VERIFIER_KEY", "11" * 32)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        act = f"PATH, PORT, PARENT = {str(secret)!r}, {port}, {os.getpid()}\n{CANARY.strip()}"
        source = code(act)
        with sandboxed(source) as sandbox, pytest.raises(AgentSandboxError, match=r"ValueError: reached: $"):
            sandbox.act(seen)
        free: Any = load_agent(str(tmp_path / "hostile.py"), envs)
        with pytest.raises(ValueError, match=r"reached: file,.*secret,network,kill,write"):
            free.act(seen)


HOSTILE: dict[str, tuple[str, str]] = {
    "sleeps for ever": ("import time; time.sleep(1e6)", "longer than 4 s to act"),
    "sleeps while it starts": ("", "longer than 6 s to start"),
    "spins": ("while True: pass", "longer than 4 s to act"),
    "eats memory": ("x = [np.empty(10**8) for _ in range(10**4)]", "MemoryError|ArrayMemoryError|has ended"),
    "fills the disk": ("open('/tmp/x', 'wb').write(bytes(2**22))", "OSError|has ended"),
    "fills it by many files": (
        "for i in range(10**6): open(f'/tmp/{i}', 'wb').write(bytes(2**16))",
        "OSError: .*No space left",
    ),
    "fills shared memory": (
        "for i in range(10**6): open(f'/dev/shm/{i}', 'wb').write(bytes(2**16))",
        "OSError: .*No space left",
    ),
    "forks": ("import os; os.fork()", "PermissionError"),
    "forks a bomb": ("import multiprocessing as m; m.Process(target=print).start()", "PermissionError"),
    "runs a program": ("import subprocess; subprocess.run(['/bin/sh'])", "PermissionError"),
    "becomes another program": (
        "import os; os.execv('/bin/sleep', ['sleep', '60'])",
        "longer than 4 s to act|has ended",
    ),
    "raises its limits": (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "ValueError: not allowed|PermissionError",
    ),
    "mounts": (
        "import ctypes; r = ctypes.CDLL(None, use_errno=True).mount(b'x', b'/tmp', b'tmpfs', 0, None)\n"
        "raise OSError(ctypes.get_errno(), 'mount')",
        "PermissionError|OSError",
    ),
    "traces the verifier": (
        "import ctypes; r = ctypes.CDLL(None).ptrace(16, 1, 0, 0)\nraise ValueError(f'ptrace {r}')",
        "ptrace -1",
    ),
    "looks at other processes": (
        "import os; raise ValueError(f'{[p for p in os.listdir(\"/proc\") if p.isdigit() and int(p) > 9]}')",
        r"ValueError: \[\]",
    ),
    "changes kdgym's files": ("import kdgym; open(kdgym.__file__, 'a').write('x')", "Read-only file system"),
    "leaves": ("raise SystemExit", "has ended"),
    "dies": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "has ended"),
    "breaks the wire": (
        "import os\nfor fd in range(3, 20):\n    try: os.write(fd, b'x' * 64)\n    except OSError: pass",
        "bytes; .* are allowed|cannot be read|no answer",
    ),
    "answers too much": ("return np.zeros((2, 10**8), np.float32)", "are allowed|longer than|MemoryError|has ended"),
    "answers what is no data": ("return object()", "TypeError: Object of type object is not JSON serializable"),
    "answers for the verifier": ("return {'failed': 'x', 'done': None}", ""),
    "speaks in escapes": ("raise ValueError('\\x1b]0;owned\\x07\\x1b[31m')", r"ValueError: \?\]0;owned\?\?\[31m"),
}


@pytest.mark.parametrize("name", tiered(HOSTILE, list(HOSTILE)[::3]))
def test_hostile_agents_are_contained(name: str, sandboxed: Callable[..., AgentSandbox], seen: Any) -> None:
    act, said = HOSTILE[name]
    if name == "sleeps while it starts":
        with pytest.raises(AgentSandboxError, match=said):
            sandboxed(code(setup="import time; time.sleep(1e6)"), Limits(start=6))
        return
    sandbox = sandboxed(code(act))
    with sandbox:
        if said:
            with pytest.raises(AgentSandboxError, match=said):
                sandbox.act(seen)
        else:
            assert not isinstance(sandbox.act(seen), np.ndarray)
    assert sandbox._process.poll() is not None  # whatever it did, it is gone


@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("return np.full((2, 56), np.nan, np.float32)", "finite"),
        ("return np.full((2, 56), 1e30, np.float32)", "1e\\+30|leaves|outside|within"),
        ("return np.zeros((2, 5), np.float32)", "shape"),
        ("return 'a lesson'", "shape"),
    ],
)
def test_wild_actions_are_refused_and_harm_no_student(
    act: str, said: str, sandboxed: Callable[..., AgentSandbox], seen: Any, envs: Any
) -> None:
    before = envs.snapshot()
    with sandboxed(code(act)) as sandbox:
        action = sandbox.act(seen)
    with pytest.raises(ValueError, match=said):
        envs.step(action)
    assert all((a == b).all() for a, b in zip(envs.snapshot().rows, before.rows, strict=True))


def test_patching_the_environment_changes_the_agents_own_process_only(
    sandboxed: Callable[..., AgentSandbox], seen: Any, envs: Any
) -> None:
    setup = (
        "from kdgym.core.population import PopulationEnv\nfrom kdgym.core.course import Course\n"
        "Course.examine = PopulationEnv.examine = lambda self, split='test': {'score': np.ones(2)}\n"
    )
    before = envs.examine("test")["score"]
    with sandboxed(code(setup=setup)) as sandbox:
        sandbox.act(seen)
    np.testing.assert_array_equal(envs.examine("test")["score"], before)
    assert (before < 1).all()


def test_pickled_weights_are_not_unpickled(sandboxed: Callable[..., AgentSandbox], envs: Any, tmp_path: Path) -> None:
    import pickle  # noqa: TID251  # what an attacker would send

    class Payload:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path}/owned",)

    weights = tmp_path / "weights.zip"
    weights.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(AgentSandboxError, match="is not a model that Stable-Baselines3 saved"):
        AgentSandbox("", (envs.single_observation_space, envs.single_action_space), None, weights, SHORT)
    assert not (tmp_path / "owned").exists()


def test_an_agent_dies_with_its_verifier(
    sandboxed: Callable[..., AgentSandbox], processes: Callable[[], set[int]]
) -> None:
    before = processes()  # tasks and libraries keep workers of their own
    sandbox = sandboxed(code())
    (child,) = processes() - before
    sandbox._process.send_signal(signal.SIGKILL)
    sandbox.close()
    assert processes() <= before
    assert not Path(f"/proc/{child}").exists()


def test_without_bubblewrap_nothing_runs(envs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RuntimeError, match="which is not installed"):
        AgentSandbox("random", (envs.single_observation_space, envs.single_action_space))


def test_every_space_of_every_board_can_be_sent() -> None:
    from kdgym.registration import ENVIRONMENTS

    for entry in ENVIRONMENTS:
        if entry.needs_model or entry.slow:
            continue
        for settings in [{}, *(encoding(name) for name in entry.trained if encoding(name))]:
            made: Any = gym.make_vec(entry.id, num_envs=1, **settings)
            for space in (made.single_observation_space, made.single_action_space):
                assert space_from_plain(unpack(pack(space_to_plain(space))[8:])) == space


def test_a_space_that_an_agent_describes_is_data_to_the_verifier(
    sandboxed: Callable[..., AgentSandbox], seen: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted.py").write_text("raise SystemExit('the verifier imported it')")
    monkeypatch.syspath_prepend(tmp_path)
    with sandboxed(code("return {'space': 'planted:Space', 'arguments': {}}")) as sandbox:
        assert sandbox.act(seen) == {"space": "planted:Space", "arguments": {}}


@pytest.mark.parametrize(
    "frame",
    [
        b"{",
        b"[" * 100_000,
        b'{"array": "AAAA", "shape": [1e9], "type": "float32"}',
        b'{"array": "AAAA", "shape": [2], "type": "float32"}',
        b'{"array": 5, "shape": [1], "type": "float32"}',
        b'{"array": "AAAA", "shape": [-1], "type": "float32"}',
        b'{"array": "AAAA", "shape": [1], "type": "object"}',
        b'{"array": "AAAA", "shape": [99999999999999999999], "type": "float32"}',
    ],
)
def test_frames_that_lie_are_refused(frame: bytes) -> None:
    with pytest.raises(ValueError, match=r"rray|nested|Expecting|recursion|large"):
        unpack(frame)
