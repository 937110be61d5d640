"""Constant recipes of Label: papers' rules, each with a twin that lacks what the paper adds. All trust every source alike.

The papers of semi-supervised learning have no weak sources: their students believe their own labels alone.
"""

from typing import Any

from kdgym.teaching import Fixed

CLASSES = 10


def thresholds(value: Any) -> dict[str, Any]:
    """The same threshold for all classes."""
    return {f"threshold_{i}": value for i in range(CLASSES)}


OWN = {"pool": 2, "own": 1}


class SupervisedOnly(Fixed):
    """Learns the given labels alone, and leaves the pool aside. The control: the neutral action."""

    rule = {}


class BelieveAll(Fixed):
    """Believes all own labels of the pool, however unsure they are."""

    rule = {**OWN}


class FixedThreshold(Fixed):
    """Believes own labels that are surer than 0.9, as FixMatch does (Sohn et al., NeurIPS 2020), without strong changes of
    images."""

    rule = {"pool": 2, "own": 1, **{f"threshold_{i}": 0.9 for i in range(10)}}


class Aligned(Fixed):
    """Believes own labels softly, divided by how often each class is said (Berthelot et al., "ReMixMatch", ICLR 2020)."""

    rule = {"pool": 3, "own": 1, "soft": 1, "align": 1}


class MajorityVote(Fixed):
    """Believes what most sources say, and learns what the expert says, bought at once."""

    rule = {"pool": 3, "buy": 1}


class Queaco(Fixed):
    """QUEACO: a memory that learns known labels rewrites weak ones, and is taught by what the student gained (Zhang et al.,
    "QUEACO: borrowing treasures from weakly-labeled behavior data for query attribute value extraction", CIKM 2021).

    Expressed: the memory's step down its loss on known labels, and on its own labels by the student's gain, as in meta
    pseudo labels; labels of the pool are those of sources and memory together. Left out: text, and items without weak labels.
    """

    rule = {"pool": 1, "own": 0.5, "memory": 0.999, "feedback": 0.1}


class QueacoNoFeedback(Fixed):
    """QUEACO without feedback: the memory only follows the student, and both makers' labels are mixed."""

    rule = {**Queaco.rule, "memory": 0.97, "feedback": 0}


class AnnotateRandom(Fixed):
    """Buys labels of any items, a part of the money at every step, and learns known labels alone.

    Expressed: the paper that lets a large language model annotate news with IPTC topics, and asks how many annotations a
    student needs. Left out: text; who annotates here may be habitually wrong.
    """

    rule = {"buy": 0.3}


class AnnotateUnsure(Fixed):
    """Buys labels of those items that the student is least sure of, and else does what annotate_random does."""

    rule = {"buy": 0.3, "unsure": 1}
