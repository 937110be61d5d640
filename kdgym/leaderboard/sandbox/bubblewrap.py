"""How an agent's process is shut in: bubblewrap, a seccomp filter, a user of its own, a cgroup where there is one.

Two ways, by who runs the verifier. An ordinary user's agent lives in a user namespace, and is process 1 of its own. The
agent of a verifier that is root must not be the machine's root in any namespace. There bubblewrap mounts as root, and
`setpriv` gives up that user and all capabilities for good, before Python starts. bubblewrap itself stays process 1, as another
user, whom the agent can neither signal nor look into.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kdgym.plugins import plugin_packages

_MIB = 1024**2
_UIDS = range(60_600, 61_100)  # that no account and no service has; containers with 65,536 ids have them, too
_OLDEST_LINUX = (5, 14)  # counts a user's threads by user namespace; before, other programs of the user's would count
_SYSTEMD = Path("/run/systemd/system")  # is there if systemd runs the machine
_SESSION = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")  # where systemd-run finds a user's systemd
_FILES_OF_THE_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")

_CLONE_THREAD = 0x00010000
_PR_SET_PDEATHSIG, _SIGKILL, _AF_UNIX = 1, 9, 1
_INT = 0xFFFFFFFF  # the kernel reads so much of an argument that is an int
# Nothing of these is needed by numpy, torch or an agent.
_FORBIDDEN = (
    # To leave a sandbox, or to look into other processes.
    "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease", "kcmp",
    "pidfd_open", "pidfd_getfd", "mount", "umount2", "unshare", "setns", "pivot_root", "chroot", "open_tree", "move_mount",
    "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "bpf", "userfaultfd", "perf_event_open", "io_uring_setup",
    "keyctl", "add_key", "request_key", "open_by_handle_at", "fanotify_init", "syslog",
    # To hold memory that no limit of a process counts.
    "memfd_create", "memfd_secret", "shmget", "shmat", "semget", "msgget", "mq_open", "splice", "vmsplice", "tee", "io_setup",
)  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What an agent may use.

    Attributes:
        memory: bytes of address space; torch alone takes about 3 GiB of it, without using them.
        disk: bytes of its temporary folder, and of a file.
        cpu: seconds of processor time in all.
        threads: how many it may have.
        start: seconds until it is loaded.
        act: seconds for a decision.
    """

    memory: int = 8 * 1024 * _MIB
    disk: int = 64 * _MIB
    cpu: int = 900
    threads: int = 64
    start: float = 120.0
    act: float = 30.0

    def of_process(self) -> dict[str, int]:
        """What `resource` is to limit: name of a limit, without RLIMIT, -> amount."""
        limits = {"AS": self.memory, "FSIZE": self.disk, "CPU": self.cpu, "NPROC": self.threads}
        return {**limits, "NOFILE": 256, "CORE": 0, "MSGQUEUE": 0, "MEMLOCK": 0}


def start(
    worker: str, limits: Limits, files: Mapping[str, Path], sockets: Mapping[str, Path], stderr: IO[bytes]
) -> subprocess.Popen[bytes]:
    """A Python process in a sandbox, which runs a module of kdgym's with pipes for standard input and output.

    Args:
        worker: the module.
        limits: of its folders; and of all of the sandbox, where systemd can do that. The process itself sets the others.
        files: place in the sandbox -> a file, of which it gets a copy that it cannot change.
        sockets: place in the sandbox -> a Unix socket, which everybody may write to.
        stderr: takes what is said before the worker runs.

    Raises:
        RuntimeError: bubblewrap, libseccomp or setpriv is missing, or the kernel is too old. Agents are never run without.
    """
    bwrap, root = _program("bwrap", "bubblewrap"), os.geteuid() == 0
    if not root and _linux() < _OLDEST_LINUX:
        raise RuntimeError(
            f"Linux {platform.release()} cannot limit the threads of a stranger's agent; run level 2 on Linux 5.14 or newer."
        )
    scope, session = _scope(limits, root)
    opened = {place: path.open("rb") for place, path in files.items()}
    read, write = os.pipe()
    try:
        with os.fdopen(write, "wb") as pipe:  # a filter is shorter than what a pipe holds
            _write_filter(pipe)
        command = [*scope, bwrap, *(_as_root() if root else _as_user()), "--seccomp", str(read), *_environment()]
        command += _visible(limits)
        for place, file in opened.items():
            command += ["--perms", "0444", "--ro-bind-data", str(file.fileno()), place]
        for place, path in sockets.items():
            command += ["--ro-bind", str(path.resolve(strict=True)), place]
        command += [part for place in ("/dev", "/proc", "/") for part in ("--remount-ro", place)]
        command += ["--chdir", "/tmp", "--", *(_give_up_root() if root else ()), sys.executable, "-I", "-m", worker]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            pass_fds=(read, *(file.fileno() for file in opened.values())),
            env=session,
        )
    finally:
        os.close(read)
        for file in opened.values():
            file.close()


def _program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(
            f"Agents of strangers are run under {package}, which is not installed (apt install {package}); levels 0 and 1 "
            "need none."
        )
    return found


def _linux() -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])


def _as_user() -> list[str]:
    return ["--unshare-all", "--as-pid-1", "--cap-drop", "ALL", *_always()]


def _as_root() -> list[str]:
    """No user namespace: its root would be the machine's. What is left of root's powers is for changing the user."""
    spaces = [f"--unshare-{name}" for name in ("pid", "net", "ipc", "uts", "cgroup-try")]
    powers = [part for name in ("SETUID", "SETGID", "SETPCAP") for part in ("--cap-add", f"CAP_{name}")]
    return [*spaces, "--cap-drop", "ALL", *powers, *_always()]


def _always() -> list[str]:
    return ["--die-with-parent", "--new-session", "--clearenv"]


def _give_up_root() -> list[str]:
    user = str(secrets.choice(_UIDS))
    nothing = ["--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]
    return [_program("setpriv", "util-linux"), "--reuid", user, "--regid", user, *nothing, "--"]


def _environment() -> list[str]:
    values = {
        "PATH": "/usr/bin:/bin", "HOME": "/tmp", "TMPDIR": "/tmp", "KDGYM_CACHE": "/tmp/kdgym", "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    return [part for name, value in values.items() for part in ("--setenv", name, value)]


def _visible(limits: Limits) -> list[str]:
    """Python, its packages, kdgym and its plugins, read-only; two folders in memory that can be written."""
    homes = {sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")}
    homes |= {path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")}
    specs = [importlib.util.find_spec(name) for name in ("kdgym", "kdgym.agents", "kdgym.envs", *plugin_packages())]
    packages = {str(Path(path).resolve()) for spec in specs if spec for path in spec.submodule_search_locations or ()}
    command = ["--proc", "/proc", "--dev", "/dev"]
    for place in ("/tmp", "/dev/shm"):  # first, as Python may lie in such a folder
        command += ["--perms", "1777", "--size", str(limits.disk), "--tmpfs", place]
    shown = [path for path in (*_FILES_OF_THE_SYSTEM, *sorted(homes | packages)) if Path(path).exists()]
    # bubblewrap would make the folders above these for its own user alone.
    above = {str(folder): None for path in shown for folder in reversed(Path(path).parents[:-1])}
    for folder in (*above, "/agent"):
        command += ["--dir", folder]
    for path in shown:
        command += ["--ro-bind", path, path]
    return command


def _scope(limits: Limits, root: bool) -> tuple[list[str], dict[str, str]]:
    """A command that puts another into a cgroup with limits, and its environment; nothing where systemd does not do that."""
    run = shutil.which("systemd-run")
    if run is None or not _SYSTEMD.is_dir():
        return [], {}
    bounds = (
        f"MemoryMax={limits.memory}",
        "MemorySwapMax=0",
        f"TasksMax={limits.threads + 8}",
    )  # bubblewrap's are among them
    scope = [run, "--scope", "--quiet", "--collect", "--no-ask-password", "--description", "an agent of kdgym's"]
    scope += [] if root else ["--user"]
    scope += [part for bound in bounds for part in ("--property", bound)]
    session = {name: os.environ[name] for name in _SESSION if name in os.environ}
    tried = subprocess.run(
        [*scope, "--", "true"], env=session, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return ([*scope, "--"], session) if tried.returncode == 0 else ([], {})


def _write_filter(file: IO[bytes]) -> None:
    """A seccomp program that refuses new processes, but no threads, and what leads out of a sandbox or past its limits."""
    try:
        import pyseccomp as s
    except (ImportError, RuntimeError, OSError) as error:  # RuntimeError: libseccomp.so is not there
        raise RuntimeError(
            f"Agents of strangers are run under a seccomp filter, which cannot be made here ({error}): pip install "
            "'kdgym[leaderboard]', and libseccomp from the system."
        ) from error
    rules, refused = s.SyscallFilter(s.ALLOW), s.ERRNO(errno.EPERM)
    for name in _FORBIDDEN:
        try:
            rules.add_rule(refused, name)
        except OSError as error:
            raise RuntimeError(
                f"libseccomp does not know the system call {name}; install version 2.5.3 or newer."
            ) from error
    rules.add_rule(refused, "clone", s.Arg(0, s.MASKED_EQ, _CLONE_THREAD, 0))
    rules.add_rule(s.ERRNO(errno.ENOSYS), "clone3")  # its flags cannot be seen; libc falls back to clone
    for name in ("socket", "socketpair"):  # others reach the network, the hypervisor or the kernel
        rules.add_rule(refused, name, s.Arg(0, s.NE, _AF_UNIX))
    # Who does not want to die with its parent outlives the verifier.
    rules.add_rule(refused, "prctl", s.Arg(0, s.MASKED_EQ, _INT, _PR_SET_PDEATHSIG), s.Arg(1, s.NE, _SIGKILL))
    rules.export_bpf(file)
