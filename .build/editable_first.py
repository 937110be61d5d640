"""The build backend: setuptools, whose editable installs are found before folders that are called like the package.

An editable install is a finder at the end of ``sys.meta_path``. In the folder around a clone called kdgym, Python finds the
clone's folder first, by the path, and takes it for a namespace package: ``import kdgym`` is empty, and no environment is
registered. So the finder that setuptools writes is moved to the front; it answers for names of kdgym alone.

Others do not help. hatchling's finder stands at the end as well. scikit-build-core's stands in front, but the clone and the
folder around it come onto the path of every program. setuptools' strict mode sees no new files. A ``.pth`` with the clone's
folder would give every program the names envs and agents.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zipfile
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (  # noqa: F401  # the other hooks of PEP 517 and 660
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

# A stable sort: run twice, it changes nothing more.
MOVE = 'import sys; sys.meta_path.sort(key=lambda finder: getattr(finder, "__module__", "") != "{}")\n'


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Setuptools' editable wheel, with a line more in the ``.pth`` file that installs its finder."""
    name: str = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    wheel = Path(wheel_directory) / name
    with zipfile.ZipFile(wheel) as archive:
        files = {member: archive.read(member).decode() for member in archive.namelist()}
    start = next(member for member in files if member.endswith(".pth"))
    finder = re.match(r"import (\w+);", files[start])
    if finder is None:
        raise RuntimeError(f"setuptools writes its editable installs in another way now: {files[start]!r}")
    files[start] += "\n" + MOVE.format(finder[1])
    record = next(member for member in files if member.endswith(".dist-info/RECORD"))
    digest = base64.urlsafe_b64encode(hashlib.sha256(files[start].encode()).digest()).decode().rstrip("=")
    entry = f"{start},sha256={digest},{len(files[start].encode())}"
    files[record] = re.sub(rf"^{re.escape(start)},.*$", entry, files[record], flags=re.MULTILINE)
    with zipfile.ZipFile(wheel, "w") as archive:
        for member, content in files.items():
            archive.writestr(member, content)
    return name
