"""Finding a task's skills without being told them: problems are embedded as sentences and clustered.

What is clustered is the text of *validation* problems; every problem of every split then belongs to its nearest cluster. Labels
are used by nobody but `agreement`, which says how well the clusters match them.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdgym import random
from kdgym.storage import cache_directory, load_or_build
from kdgym.tasks.base import Skill, Task
from kdgym.tasks.views.regrouped import RegroupedTask

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
_SAMPLE = 4000  # validation problems that are clustered
_SILHOUETTE_SAMPLE = 1500
_CANDIDATES = range(4, 25)  # numbers of clusters tried when none is asked for
_SEED = 0
_VERSION = 0


@dataclass(frozen=True)
class Discovery:
    """Skills found in a task.

    Attributes:
        cluster: the cluster of every problem, largest cluster first, int64 [P].
        examples: texts of the problems nearest to each cluster's centre.
        silhouette: mean silhouette of the clustered problems, in [-1, 1].
    """

    cluster: Ints
    examples: tuple[tuple[str, ...], ...]
    silhouette: float

    @property
    def sizes(self) -> Ints:
        """Problems of every cluster, int64 [clusters]."""
        return np.bincount(self.cluster)


def discover(task: Task, clusters: int | None = None) -> Discovery:
    """Cluster a task's problems by what they say: words and signs, with digits and single letters replaced by one each.

    Args:
        task: whose problems; only their texts are looked at.
        clusters: how many; if left out, the number from 4 to 24 with the largest silhouette.

    Raises:
        ValueError: there are not so many different problems.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import silhouette_score

    texts, which = _distinct_texts(task)
    fitted = np.unique(which[_sample(task)])
    embedding = _embed(texts)
    points = embedding[fitted]
    most = min(len(points) - 1, 256)
    if clusters is not None and not 2 <= clusters <= most:
        raise ValueError(f"clusters is {clusters}; choose from 2 to {most} for this task.")

    def fit(number: int) -> tuple[float, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different points than clusters: some stay empty
            found = KMeans(number, n_init=4, random_state=_SEED).fit(points)
        size = min(_SILHOUETTE_SAMPLE, len(points))
        return float(silhouette_score(points, found.labels_, sample_size=size, random_state=_SEED)), found

    tried = [clusters] if clusters is not None else [n for n in _CANDIDATES if n <= most]
    if not tried:
        raise ValueError(
            f"{len(points)} different validation problems are too few to find skills in; name their number."
        )
    silhouette, best = max((fit(number) for number in tried), key=lambda pair: pair[0])
    label = np.asarray(best.predict(embedding), np.int64)
    size = np.bincount(label[which], minlength=best.n_clusters)
    order = [c for c in np.argsort(-size, kind="stable").tolist() if size[c]]  # equal points leave clusters empty
    place = np.zeros(best.n_clusters, np.int64)
    place[order] = np.arange(len(order))
    distance = best.transform(embedding)
    examples = tuple(tuple(texts[i] for i in np.argsort(distance[:, c], kind="stable")[:3]) for c in order)
    return Discovery(place[label][which], examples, silhouette)


def under_skills(task: Task, wanted: str) -> Task:
    """The task under skills that ``"discovered"`` or ``"discovered:12"`` asks for.

    Raises:
        ValueError: see `under_discovered_skills`.
    """
    number = wanted.partition(":")[2]
    return under_discovered_skills(task, int(number) if number else None)


@lru_cache(maxsize=8)
def under_discovered_skills(task: Task, clusters: int | None = None) -> Task:
    """The task with the skills found in it, see `discover`; what was found is kept in the user's cache.

    Raises:
        ValueError: see `discover` and `RegroupedTask`.
    """
    made_of = {"clusters": clusters, "scikit-learn": version("scikit-learn"), "problems": _digest(task)}
    name = hashlib.sha256(json.dumps([_VERSION, made_of], sort_keys=True).encode()).hexdigest()[:16]
    path = cache_directory() / "skills" / f"{task.name.lower()}-{name}.safetensors"

    def build() -> dict[str, Tensor]:
        return {"cluster": torch.from_numpy(discover(task, clusters).cluster)}

    cluster = load_or_build(path, made_of, build, "discovered skills")["cluster"].numpy()
    skills = [Skill(f"found_{i}", "A cluster of problems that read alike.") for i in range(int(cluster.max()) + 1)]
    return RegroupedTask(task, cluster, skills)


def _digest(task: Task) -> str:
    """Tells tasks with other problems apart."""
    made_of = hashlib.sha256(f"{task.name} {task.version} {task.edition}".encode())
    for table in (task.prompt, task.solution):
        made_of.update(table.numpy().tobytes())
    return made_of.hexdigest()


def agreement(task: Task, discovery: Discovery) -> float:
    """Adjusted Rand index of the clusters with the task's own skills (Hubert and Arabie, 1985): 1 equal, 0 by chance."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(task.skill_of.numpy(), discovery.cluster))


def _distinct_texts(task: Task) -> tuple[list[str], Ints]:
    """The texts there are, and which one each problem has, int64 [P]."""
    number: dict[str, int] = {}
    which = [number.setdefault(task.text(problem), len(number)) for problem in range(len(task.prompt))]
    return list(number), np.array(which, np.int64)


def _sample(task: Task) -> Ints:
    """Some validation problems, chosen by a hash without regard to skills."""
    pool = task.pool("validation")
    ranges = [torch.arange(s, s + n) for s, n in zip(pool.start.tolist(), pool.count.tolist(), strict=True)]
    problems = torch.cat(ranges)
    order = random.uniform(random.fold(torch.tensor(task.version), problems), 1)[:, 0].argsort(stable=True)
    chosen: Ints = problems[order[:_SAMPLE]].numpy()
    return chosen


def _embed(texts: Sequence[str]) -> Floats:
    """Unit vectors of TF-IDF weights, reduced to at most 64 dimensions: [texts, n]."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    rare = max(1, min(5, len(texts) // 100))  # texts of a small data set share few words
    counts = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", ngram_range=(1, 3), min_df=rare, sublinear_tf=True)
    weights = counts.fit_transform([abstract(text) for text in texts])
    rank = min(64, weights.shape[1] - 1)
    return np.asarray(normalize(TruncatedSVD(rank, random_state=_SEED).fit_transform(weights)), np.float32)


def abstract(text: str) -> str:
    """What a problem says, whatever its numbers and names are: digits become 0, single letters x, strings s."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"", " s ", text)
    return re.sub(r"\b[A-Za-z]\b", "x", re.sub(r"\d+", "0", text))
