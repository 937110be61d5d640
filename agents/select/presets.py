"""Constant recipes of Select: papers' selections, each with a twin that lacks what the paper adds. All trust every scorer
alike, as the papers have one model whom they need not doubt."""

from kdgym.teaching import Fixed


class KeepAll(Fixed):
    """Keeps the whole pool, with given labels. The control: the neutral action."""

    rule = {}


class HardFirst(Fixed):
    """Keeps the half of each class that the student finds hardest, by its loss."""

    rule = {"student_loss": 1, "keep": 0.5}


class EasyFirst(Fixed):
    """Keeps the half of each class that the student finds easiest, by its loss."""

    rule = {"student_loss": -1, "keep": 0.5}


class MiniPlm(Fixed):
    """MiniPLM's difference sampling: keeps the half that a large model finds likely and a small one does not (Gu et al.,
    "MiniPLM: knowledge distillation for pre-training language models", ICLR 2025).

    Expressed: the difference of two losses, the reference's minus the teacher's, and the share. The small reference is the
    student, who learned from the same pool; the large model is all scorers alike, as nobody knows which one is right. Left out:
    text, a reference that stays as it is, and one choice for the whole training.
    """

    rule = {"student_loss": 1, "scorer_loss": -1, "keep": 0.5}


class MiniPlmTeacher(Fixed):
    """MiniPLM without the reference: keeps the half that the scorers find likely."""

    rule = {**MiniPlm.rule, "student_loss": 0}


class Kd3(Fixed):
    """KD3's selection: keeps the half on which teacher and student are surest together, and learns what the teacher says of it
    (Tang et al., "Distribution shift matters for knowledge distillation with webly collected images", ICCV 2023).

    Expressed: the combined prediction, chosen anew at every step, over items with foreign ones among them. Its thresholds were
    not read: half of the pool is kept, ranked among all items, since labels of web images are not used. Left out: aligned
    features and classifiers, and mixed images.
    """

    rule = {"combined_entropy": -1, "mix": 0.5, "keep": 0.5, "within_class": 0, "labels": 1}


class Kd3Scorer(Fixed):
    """KD3 without the student: keeps the half on which the teacher alone is surest."""

    rule = {**Kd3.rule, "mix": 1}


class ImpossibleDistillation(Fixed):
    """The filter of Impossible Distillation: what a weak model made is kept where critics accept it (Jung et al., "Impossible
    distillation for paraphrasing and summarization", NAACL 2024).

    Expressed: the student learns labels that a weak maker wrote, all scorers together, on the half of each class that critics
    accept. Critics are the scorers' agreement with the given label and their certainty. Left out: text, generation from the
    student itself, and a second filter on that.
    """

    rule = {"scorer_loss": -1, "scorer_entropy": -1, "keep": 0.5, "labels": 1}


class ImpossibleUnfiltered(Fixed):
    """Impossible Distillation without its filter: all labels of the weak maker."""

    rule = {"labels": 1}


class PeerScorer(Fixed):
    """Trusts all scorers alike, on the third of each class whose given labels they find likeliest: a vote."""

    rule = {"scorer_loss": -1, "keep": 1 / 3, "labels": 0.5}
