"""Hostile agents: what they try is refused or contained, the verifier goes on, and it is the sandbox that does it."""

from __future__ import annotations

import os
import select
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import psutil
import pytest

import kdgym  # noqa: F401  # registers the environments
from kdgym.evaluation import encoding, load_agent, teach
from kdgym.leaderboard.sandbox import bubblewrap
from kdgym.leaderboard.sandbox.agent_sandbox import AgentSandbox, AgentSandboxError, Limits
from kdgym.leaderboard.sandbox.wire import pack, unpack
from kdgym.spaces import JsonText, space_from_plain, space_to_plain
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
    "looks at other processes": (  # at most bubblewrap's own first one, which is another user's
        "import os; raise ValueError(f'{[p for p in os.listdir(\"/proc\") if p.isdigit() and int(p) > 2]}')",
        r"ValueError: \[\]",
    ),
    "starts threads": (
        "import threading, time\nfor i in range(1000): threading.Thread(target=time.sleep, args=(60,)).start()",
        "RuntimeError: can't start new thread",
    ),
    "changes kdgym's files": (
        "import kdgym; open(kdgym.__file__, 'a').write('x')",
        "Read-only file system|Permission denied",
    ),
    "leaves": ("raise SystemExit", "has ended"),
    "dies": ("import ctypes; ctypes.string_at(0)", "has ended"),
    "uses up its processor time": ("import time\nwhile True: time.process_time()", "has ended"),
    "breaks the wire": (
        "import os\nfor fd in range(3, 20):\n    try: os.write(fd, b'x' * 64)\n    except OSError: pass",
        "bytes; .* are allowed|cannot be read|no answer",
    ),
    "answers too much": ("return np.zeros((2, 10**8), np.float32)", "are allowed|longer than|MemoryError|has ended"),
    "answers what is no data": ("return object()", "TypeError: Object of type object is not JSON serializable"),
    "answers for the verifier": ("return {'failed': 'x', 'done': None}", "no action"),
    "speaks in escapes": ("raise ValueError('\\x1b]0;owned\\x07\\x1b[31m')", r"ValueError: \?\]0;owned\?\?\[31m"),
}


@pytest.mark.parametrize("name", tiered(HOSTILE, list(HOSTILE)[::3]))
def test_hostile_agents_are_contained(name: str, sandboxed: Callable[..., AgentSandbox], seen: Any) -> None:
    act, said = HOSTILE[name]
    if name == "sleeps while it starts":
        with pytest.raises(AgentSandboxError, match=said):
            sandboxed(code(setup="import time; time.sleep(1e6)"), Limits(start=6))
        return
    sandbox = sandboxed(code(act), Limits(start=60, act=30, cpu=8) if "processor" in name else SHORT)
    with sandbox, pytest.raises(AgentSandboxError, match=said):
        sandbox.act(seen)
    assert sandbox._process.poll() is not None  # whatever it did, it is gone


@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("return np.full((2, 56), np.nan, np.float32)", "finite"),
        ("return [[float('nan')] * 56] * 2", "finite"),
        ("return np.full((2, 56), 1e30, np.float32)", "1e\\+30|leaves|outside|within"),
        ("return np.ones((2, 56), bool)", "dtype"),
        ("return np.zeros((2, 5), np.float32)", "shape"),
        ("return np.zeros(())", "shape"),
        ("return 'a lesson'", "shape"),
        ("return None", "shape"),
        ("return {}", "shape"),
        ("return True", "shape"),
        ("return [[None] * 56] * 2", "where a number is wanted"),
        ("return [[2**64] * 56] * 2", "too large"),
        ("return [[10**400] * 56] * 2", "bytes; .* are allowed"),
    ],
)
def test_wild_actions_are_refused_and_harm_no_student(
    act: str, said: str, sandboxed: Callable[..., AgentSandbox], seen: Any, envs: Any
) -> None:
    before = envs.snapshot()
    with sandboxed(code(act)) as sandbox, pytest.raises(ValueError, match=said):
        envs.step(sandbox.act(seen))
    assert all((a == b).all() for a, b in zip(envs.snapshot().rows, before.rows, strict=True))


WRITER = """
class Agent:
    def __init__(self, observation_space, action_space, seed=0):
        pass

    def act(self, observation):
        return ANSWER
"""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("['x' * 60 * 2**20] + [''] * 31", "bytes; .* are allowed"),
        ("['x' * 1001] + [''] * 31", "student 0 has 1001 characters; 1000 are allowed"),
        ("[''] * 10**6 + ['x' * 10**6]", "bytes; .* are allowed"),
        ("[''] * 33", "list of 33; a list of 32 texts"),
        ("[''] * 31 + ['\\ud800']", "student 31 is no text"),
        ("[''] * 31 + [None]", "student 31 is NoneType"),
        ("[['']] * 32", "student 0 is list of 1"),
        ("[[1, 2]] * 10**5", "bytes; .* are allowed|list of 100000"),
        *((value, "32 texts is wanted") for value in ("None", "float('nan')", "True", "{}", "'x' * 32", "5")),
        ("__import__('numpy').array(['x'] * 31 + [5], dtype=object)", "student 31 is int"),
        ("__import__('numpy').zeros(32)", "32 texts is wanted"),
    ],
)
def test_odd_texts_are_the_agents_own_failure(answer: str, said: str, tmp_path: Path) -> None:
    file, space = tmp_path / "writer.py", JsonText(1000, "draw")
    file.write_text(WRITER.replace("ANSWER", answer))
    with AgentSandbox("", (space, space), file, limits=SHORT) as sandbox, pytest.raises(AgentSandboxError, match=said):
        sandbox.act(("",) * 32)


def test_texts_arrive_as_a_list_of_texts(tmp_path: Path) -> None:
    file, space = tmp_path / "writer.py", JsonText(1000, "draw")
    file.write_text(WRITER.replace("ANSWER", "[text + 'é\\u2028\\U0001f600' for text in observation]"))
    with AgentSandbox("", (space, space), file, limits=SHORT) as sandbox:
        assert sandbox.act(("a", "b")) == ["aé\u2028\U0001f600", "bé\u2028\U0001f600"]


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


# Each counts what worked; none may.
ESCAPES: dict[str, str] = {
    "settings of the kernel": """
for root, _, names in os.walk("/proc/sys"):
    for name in names:
        attempt(lambda: os.close(os.open(f"{root}/{name}", os.O_WRONLY)))
for name in ("sysrq-trigger", "irq/default_smp_affinity", "self/oom_score_adj", "self/uid_map", "1/oom_adj"):
    attempt(lambda: open(f"/proc/{name}", "wb"))
""",
    "memory of process 1": """
attempt(lambda: open("/proc/1/mem", "r+b"))
attempt(lambda: open("/proc/1/clear_refs", "wb"))
""",
    "files of process 1": """
for number in range(256):
    attempt(lambda: stat.S_ISREG(os.stat(f"/proc/1/fd/{number}").st_mode))
""",
    "memory that nothing counts": """
attempt(lambda: os.memfd_create("x"))
attempt(lambda: call("memfd_secret", 447, 0))
attempt(lambda: call("shmget", 29, 0, 4096, 0o1600))
attempt(lambda: call("shmat", 30, 0, 0, 0))
attempt(lambda: call("semget", 64, 0, 1, 0o1600))
attempt(lambda: call("msgget", 68, 0, 0o1600))
attempt(lambda: call("mq_open", 240, b"x", os.O_CREAT | os.O_RDWR, 0o600, 0))
attempt(lambda: call("io_setup", 206, 16, ctypes.byref(ctypes.c_ulong())))
a, b = os.pipe()
vector = (ctypes.c_void_p * 2)(ctypes.addressof(ctypes.create_string_buffer(4096)), 4096)
attempt(lambda: call("vmsplice", 278, b, vector, 1, 0))
c, d = os.pipe()
os.write(b, b"x" * 9)
attempt(lambda: call("tee", 276, a, d, 4, 0))
attempt(lambda: call("splice", 275, a, 0, d, 0, 4, 0))
""",
    "other processes": """
attempt(lambda: os.pidfd_open(os.getpid()))
attempt(lambda: os.pidfd_open(1))
attempt(lambda: call("pidfd_getfd", 438, 0, 2, 0))
attempt(lambda: call("kcmp", 312, os.getpid(), os.getpid(), 0, 0, 0))
attempt(lambda: call("process_madvise", 440, 0, 0, 0, 0, 0))
attempt(lambda: call("process_vm_readv", 310, os.getpid(), 0, 0, 0, 0, 0))
attempt(lambda: call("ptrace", 101, 0, 0, 0, 0))
""",
    "sockets": """
for family in range(64):
    for type in (1, 2, 3, 5):
        if family != socket.AF_UNIX:
            attempt(lambda: socket.socket(family, type))
            attempt(lambda: socket.socketpair(family, type))
attempt(lambda: call("socket", 41, socket.AF_VSOCK | 1 << 32, 1, 0))
attempt(lambda: call("socket", 41, socket.AF_UNIX | 1 << 32, 1, 0))
""",
    "mounts": """
attempt(lambda: call("open_tree", 428, -100, b"/", 1))
attempt(lambda: call("fsopen", 430, b"tmpfs", 0))
attempt(lambda: call("fspick", 433, -100, b"/tmp", 0))
attempt(lambda: call("mount_setattr", 442, -100, b"/", 0, 0, 0))
attempt(lambda: call("unshare", 272, 0x10000000))
attempt(lambda: call("clone", 56, 0x10000000 | 17, 0, 0, 0, 0))
attempt(lambda: call("chroot", 161, b"/tmp"))
""",
    "to outlive the verifier": """
attempt(lambda: call("prctl", 157, 1, 0, 0, 0, 0))
attempt(lambda: call("prctl", 157, 1, 1 << 32 | 9, 0, 0, 0))
attempt(lambda: call("prctl", 157, 1 | 1 << 32, 0, 0, 0, 0))
""",
    "to be somebody": """
attempt(lambda: os.setuid(0))
attempt(lambda: os.setresuid(0, -1, -1))
attempt(lambda: os.setgroups([0]))
attempt(lambda: os.getuid() == 0 or 1 / 0)
attempt(lambda: int(open("/proc/self/status").read().split("CapEff:")[1].split()[0], 16) or 1 / 0)
""",
    "more of what is limited": """
for name in ("AS", "FSIZE", "CPU", "NOFILE", "NPROC", "CORE", "MSGQUEUE", "MEMLOCK"):
    limit = getattr(resource, f"RLIMIT_{name}")
    attempt(lambda: resource.setrlimit(limit, (resource.RLIM_INFINITY,) * 2))
    attempt(lambda: resource.getrlimit(limit)[1] == resource.RLIM_INFINITY or 1 / 0)
attempt(lambda: [os.open("/dev/null", os.O_RDONLY) for _ in range(300)])
""",
}
TRYING = """
import ctypes, os, resource, socket, stat
libc, worked = ctypes.CDLL(None, use_errno=True), []
def attempt(what):
    try:
        if what() is not False:
            worked.append(what.__code__.co_firstlineno)
    except (OSError, ValueError, ZeroDivisionError, AttributeError):
        pass
def call(name, number, *arguments):
    if os.uname().machine != "x86_64":
        raise OSError("other numbers there")
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    if result == -1 and ctypes.get_errno() in (1, 38):
        raise OSError("refused")
    return result
"""


@pytest.mark.parametrize("name", tiered(ESCAPES, list(ESCAPES)[::2]))
def test_nothing_that_leads_out_works(name: str, sandboxed: Callable[..., AgentSandbox], seen: Any) -> None:
    """System calls are refused by number, whatever their arguments: one that fails for another reason counts as allowed."""
    sandbox = sandboxed(code(TRYING + ESCAPES[name] + "raise ValueError(f'worked: {worked}')"))
    with sandbox, pytest.raises(AgentSandboxError, match=r"ValueError: worked: \[\]$"):
        sandbox.act(seen)


def test_an_agent_is_not_root_on_the_machine(sandboxed: Callable[..., AgentSandbox]) -> None:
    """As seen from outside, where a namespace cannot pretend."""
    with sandboxed(code()) as sandbox:
        family = psutil.Process(sandbox._process.pid).children(recursive=True)
        (agent,) = [one for one in family if one.name() != "bwrap"]
        assert "Seccomp:\t2" in Path(f"/proc/{agent.pid}/status").read_text()
        assert set(agent.uids()) <= ({os.geteuid()} if os.geteuid() else set(bubblewrap._UIDS))
        assert 0 not in agent.uids()
        assert 0 not in agent.gids() or os.getegid() == 0 != os.geteuid()


@pytest.mark.parametrize("last", ["time.sleep(600)", "\nwhile True: pass"])
def test_nothing_is_left_of_an_agent_that_is_closed(
    last: str, sandboxed: Callable[..., AgentSandbox], seen: Any
) -> None:
    """Also of one that would rather go on: its end of the pipe is closed, which only the end of its process can do."""
    act = f"import ctypes, time\nctypes.CDLL(None).prctl(1, 0, 0, 0, 0)\n{last}"
    sandbox = sandboxed(code(act), Limits(start=60, act=1, cpu=60))
    assert sandbox._process.stdout is not None
    pipe = os.dup(sandbox._process.stdout.fileno())
    with sandbox, pytest.raises(AgentSandboxError, match="longer than"):
        sandbox.act(seen)
    try:
        readable, _, _ = select.select([pipe], [], [], 60)
        assert readable
        assert os.read(pipe, 1) == b""
    finally:
        os.close(pipe)


@pytest.mark.parametrize("place", ["/proc/1/fd/2", "/proc/self/fd/2", "/dev/stderr", "/dev/fd/2"])
def test_an_agent_cannot_blame_the_machine(place: str, sandboxed: Callable[..., AgentSandbox]) -> None:
    """Its failure stays its own, whatever it says in bubblewrap's name."""
    setup = f"""
try:
    open({place!r}, "w").write("bwrap: broken")
except OSError:
    pass
raise ValueError("bwrap: broken")"""
    with pytest.raises(AgentSandboxError, match="broke down: ValueError: bwrap: broken"):
        sandboxed(code(setup=setup))


def fake(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


@pytest.mark.parametrize("program", ["bwrap", "setpriv"])
@pytest.mark.parametrize("script", ["echo 'no namespaces here' >&2; exit 1", "exit 0", "exec sleep 600"])
def test_a_machine_without_namespaces_is_no_agents_fault(
    program: str, script: str, envs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if program == "setpriv" and os.geteuid():
        pytest.skip("only a verifier that is root needs it")
    fake(tmp_path, program, script)
    if program == "setpriv":  # which is run inside
        monkeypatch.setattr(bubblewrap, "_FILES_OF_THE_SYSTEM", (*bubblewrap._FILES_OF_THE_SYSTEM, str(tmp_path)))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(RuntimeError, match=r"does not work on this machine: (no namespaces|the agent)") as found:
        AgentSandbox("random", (envs.single_observation_space, envs.single_action_space), limits=Limits(start=4))
    assert not isinstance(found.value, AgentSandboxError)


@pytest.mark.parametrize(("works", "joined"), [(True, True), (False, False)])
def test_systemd_bounds_the_whole_sandbox_where_it_can(
    works: bool,
    joined: bool,
    sandboxed: Callable[..., AgentSandbox],
    seen: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Here it is a script that writes down what it is asked."""
    script = f'echo "$@" >> {tmp_path}/asked; while [ "$1" != -- ]; do shift; done; shift; exec "$@"'
    fake(tmp_path, "systemd-run", script if works else "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(bubblewrap, "_SYSTEMD", tmp_path)
    with sandboxed(code(), Limits(memory=2**33, threads=30)) as sandbox:
        assert sandbox.act(seen).shape == (2, 56)
    asked = (tmp_path / "asked").read_text().splitlines() if works else []
    assert (len(asked) == 2) == joined  # once to see whether it works
    assert all("MemoryMax=8589934592" in line and "TasksMax=38" in line and "MemorySwapMax=0" in line for line in asked)
    assert all(("--user" in line) == (os.geteuid() != 0) for line in asked)


@pytest.mark.parametrize("release", ["5.13.0-1", "4.18.0", "3.10"])
def test_an_old_kernel_is_refused_where_it_would_not_count_threads(
    release: str, envs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bubblewrap.platform, "release", lambda: release)
    monkeypatch.setattr(bubblewrap.os, "geteuid", lambda: 1000)
    with pytest.raises(RuntimeError, match=f"Linux {release} cannot limit"):
        AgentSandbox("random", (envs.single_observation_space, envs.single_action_space))


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
    sandbox = sandboxed(code("return {'space': 'planted:Space', 'arguments': {}}"))
    with sandbox, pytest.raises(AgentSandboxError, match="no action"):
        sandbox.act(seen)
