"""The kernel's cache and its compilers: no damage and no compiler ends the process, hangs it, or changes numbers unsaid."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdgym.students import TransformerConfig, TransformerStudents
from kdgym.students.tiny import kernel
from kdgym.students.tiny.kernel import KernelUnavailableError
from kdgym.tasks import make_task

pytestmark = pytest.mark.slow

# Writes to its "-o", as a compiler does; asked for its macros, it says nothing.
COMPILER = """#!/bin/sh
case "$*" in *-dM*) exit 0;; esac
while [ $# -gt 1 ]; do if [ "$1" = -o ]; then out=$2; fi; options="$options $1"; shift; done
{work}
"""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library for the usual sizes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDGYM_CACHE", str(tmp_path_factory.mktemp("sound")))
        kernel._library.cache_clear()
        students()
        kernel._library.cache_clear()
        return libraries()[0]


@pytest.fixture(autouse=True)
def new_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sound: Path) -> Iterator[None]:
    """A cache of its own, in which nothing is, and nothing loaded."""
    monkeypatch.setenv("KDGYM_CACHE", str(tmp_path / "cache"))
    forget()
    yield
    forget()


def forget() -> None:
    kernel._library.cache_clear()
    kernel.fingerprint.cache_clear()


def students(engine: str = "kernel", layers: int = 1) -> TransformerStudents:
    return TransformerStudents(make_task("Math"), TransformerConfig(layers=layers), engine=engine)  # type: ignore[arg-type]


def libraries() -> list[Path]:
    return list((Path(os.environ["KDGYM_CACHE"]) / "kernels").glob("*.so"))


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    def install(work: str) -> Path:
        script = tmp_path / "compiler"
        script.write_text(COMPILER.format(work=work))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("CC", shlex.quote(str(script)))
        return script

    return install


@pytest.fixture
def from_source(compiler: Callable[[str], Path], tmp_path: Path) -> Callable[[str], None]:
    """Has the compiler make a library of another source."""

    def install(source: str) -> None:
        file = tmp_path / "other.c"
        file.write_text(source)
        compiler(f"exec cc -shared -fPIC {shlex.quote(str(file))} -o $out")

    return install


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "garbage": lambda content: b"not a library" * 1000,
    "a page": lambda content: content[:4096],
    "half": lambda content: content[: len(content) // 2],
    "without the last page": lambda content: content[:-4096],
    "longer": lambda content: content + b"\0",
    "zeros in the middle": lambda c: c[: len(c) // 4] + bytes(len(c) // 2) + c[len(c) // 4 + len(c) // 2 :],
    **{
        f"a bit at {place}/16": lambda c, n=place: (  # type: ignore[misc]
            c[: len(c) * n // 16] + bytes([c[len(c) * n // 16] ^ 1]) + c[len(c) * n // 16 + 1 :]
        )
        for place in range(16)
    },
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("whose", ["library", "checksum"])
def test_a_damaged_file_is_compiled_again_with_a_warning(
    damage: str, whose: str, compiler: Callable[[str], Path], sound: Path
) -> None:
    compiler(f"cp {shlex.quote(str(sound))} $out")
    students()
    (library,) = libraries()
    file = library if whose == "library" else library.with_suffix(".sha256")
    content = file.read_bytes()
    damaged = DAMAGES[damage](content)
    if damaged == content:
        pytest.skip("the file is smaller than that")
    file.unlink()  # another file, as this process has the sound one in its memory
    file.write_bytes(damaged)
    kernel._library.cache_clear()
    with pytest.warns(RuntimeWarning, match="damaged; it is compiled again"):
        students()
    assert file.read_bytes() == content
    kernel._library.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        students()


BROKEN_COMPILERS = {
    "garbage": ("echo garbage > $out", "trial of the compiled kernel failed"),
    "empty": (": > $out", "trial of the compiled kernel failed"),
    "nothing": ("exit 0", "trial of the compiled kernel failed"),
    "half a library": ("head -c 50000 {sound} > $out", "trial of the compiled kernel failed"),
    "folder": ("mkdir $out", "trial of the compiled kernel failed"),
    "failure": ("echo 'f\\374nf \\033[31m' >&2; exit 3", r"C compiler failed \(3\)"),
    "signal": ("kill -SEGV $$", r"C compiler failed \(-11\)"),
}


@pytest.mark.parametrize("kind", BROKEN_COMPILERS)
def test_what_a_broken_compiler_makes_stays_out_of_the_cache(
    kind: str, compiler: Callable[[str], Path], sound: Path
) -> None:
    work, said = BROKEN_COMPILERS[kind]
    compiler(work.replace("{sound}", shlex.quote(str(sound))))
    with pytest.raises(KernelUnavailableError, match=said):
        students()
    assert not libraries()
    with pytest.warns(RuntimeWarning, match="round otherwise"):
        assert students("auto").engine == "torch"
    assert kernel.fingerprint() == "none"


HEAD = "#include <signal.h>\n#include <stdlib.h>\nlong kdgym_workspace(void) { return 1 << 20; }\n"
NAMES = ("train", "evaluate", "sample", "gradient", "decode")
IDLE = {name: f"void kdgym_{name}(void) {{}}\n" for name in NAMES}
BROKEN_LIBRARIES = {
    "lacks every function": "int nothing;",
    **{f"lacks {name}": HEAD + "".join(IDLE[n] for n in NAMES if n != name) for name in NAMES},
    "crashes when loaded": "#include <stdlib.h>\n__attribute__((constructor)) static void begin(void) { abort(); }",
    **{
        f"crashes by signal {number} in {name}": HEAD
        + "".join(IDLE[n] for n in NAMES if n != name)
        + f"void kdgym_{name}(void) {{ raise({number}); }}"
        for name in NAMES
        for number in (4, 11)
    },
    "ends the process": HEAD + "".join(IDLE.values()) + "__attribute__((constructor)) static void e(void) { exit(7); }",
    "huge workspace": HEAD.replace("1 << 20", "1L << 60") + "".join(IDLE.values()),
    "negative workspace": HEAD.replace("1 << 20", "-1L") + "".join(IDLE.values()),
    "losses that differ": HEAD
    + "".join(IDLE[n] for n in NAMES if n != "evaluate")
    + "void kdgym_evaluate(void *w, long *n, long s, float *state, long st, void *t, long *p, long *a, long r, char *ok,"
    + " float *losses) { losses[0] = 1; }",
    "losses that are no numbers": HEAD
    + "".join(IDLE[n] for n in NAMES if n != "evaluate")
    + "void kdgym_evaluate(void *w, long *n, long s, float *state, long st, void *t, long *p, long *a, long r, char *ok,"
    + " float *losses) { losses[0] = 0.0f / 0.0f; }",
}


@pytest.mark.parametrize("kind", BROKEN_LIBRARIES)
def test_a_library_that_crashes_or_errs_does_so_in_another_process(
    kind: str, from_source: Callable[[str], None]
) -> None:
    from_source(BROKEN_LIBRARIES[kind])
    with pytest.raises(KernelUnavailableError, match="trial of the compiled kernel failed"):
        students()
    assert not libraries()


def test_a_compiler_that_hangs_is_given_up_on_with_all_that_it_started(
    compiler: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "_PATIENCE", 1.0)
    compiler(f"sleep 1000 & echo $! > {shlex.quote(str(tmp_path / 'child'))}; wait")
    with pytest.raises(KernelUnavailableError, match=r"C compiler did not end within 1 s"):
        students()
    ps = ["ps", "-o", "stat=", "-p", (tmp_path / "child").read_text()]
    assert subprocess.run(ps, check=False, capture_output=True, text=True).stdout.strip()[:1] in ("", "Z")


def test_a_library_that_hangs_is_given_up_on(
    from_source: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "_PATIENCE", 2.0)
    from_source("__attribute__((constructor)) static void begin(void) { for (;;) ; }")
    with pytest.raises(KernelUnavailableError, match=r"trial of the compiled kernel did not end within 2 s"):
        students()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("cc 'unfinished", "which is no command"),
        ("/", "cannot be run"),
        ("/etc/passwd", "cannot be run"),
        ("/no/such/compiler", "does not exist"),
    ],
)
def test_a_wrong_compiler_is_named_in_a_sentence(given: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", given)
    with pytest.raises(KernelUnavailableError, match=said):
        students()


def test_a_full_cache_keeps_the_engine(compiler: Callable[[str], Path], sound: Path) -> None:
    cache = Path(os.environ["KDGYM_CACHE"])
    full = f'case $out in {shlex.quote(str(cache))}*) echo "No space left on device" >&2; exit 1;; esac'
    compiler(f"{full}\ncp {shlex.quote(str(sound))} $out")
    with pytest.warns(RuntimeWarning, match=r"(?s)cannot be kept in .*No space left on device"):
        assert students("auto").engine == "kernel"
    assert not libraries()


def test_what_fails_in_one_process_does_not_change_the_engine_of_a_machine_that_has_the_kernel(
    compiler: Callable[[str], Path], sound: Path
) -> None:
    compiler('case "$options" in *LAYERS=2*) exit 1;; esac\nexec cc $options -lm')
    assert students("auto").engine == "kernel"
    with pytest.raises(KernelUnavailableError, match="engine='torch'"):
        students("auto", layers=2)
    assert students("torch", layers=2).engine == "torch"
