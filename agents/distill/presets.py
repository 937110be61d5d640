"""Constant recipes of Distill: papers' loss terms, each with a twin that lacks what the paper adds. All trust every teacher
alike, as the papers have one teacher whom they need not doubt.

Detection, segmentation and large models are not here. Where a paper is about these, only its decision is: which terms, how
strongly.
"""

from kdgym.teaching import Fixed


class HardLabels(Fixed):
    """Cross entropy with the given labels, and no teacher. The control: the neutral action."""

    rule = {}


class PlainKd(Fixed):
    """Cross entropy and the divergence from the softened teachers (Hinton, Vinyals and Dean, 2015)."""

    rule = {"ce": 1, "forward": 1, "temperature": 4}


class ReverseKd(Fixed):
    """The same with the divergence in the other direction, KL(student || teachers)."""

    rule = {"ce": 1, "reverse": 1, "temperature": 4}


class BdKd(Fixed):
    """BD-KD: both directions, balanced item by item by who is less sure (Amara et al., "Balancing the divergences for online
    knowledge distillation", 2022).

    Items whose teachers are less sure than the student lean to the forward direction. The abstract has the weighting of both
    directions item by item; which items lean where is from secondary sources. The paper's teacher learns beside the student;
    here teachers are frozen.
    """

    rule = {"ce": 1, "forward": 1, "reverse": 1, "by_entropy": 2, "temperature": 4}


class BdKdEven(Fixed):
    """BD-KD without the balance: both directions count alike on every item."""

    rule = {**BdKd.rule, "by_entropy": 0}


class OfaKd(Fixed):
    """OFA-KD: branches behind the stages imitate logits, and the given class is boosted (Hao et al., "One-for-all", NeurIPS
    2023).

    In the paper branches have layers of their own, as its students and teachers differ in architecture. Here a branch is one
    layer.
    """

    rule = {"ce": 1, "boosted": 1, "exit_1": 1, "exit_2": 1, "boost": 1.5}


class OfaKdNoBoost(Fixed):
    """OFA-KD without the boost: plain cross entropy with the teachers, in all branches."""

    rule = {**OfaKd.rule, "boost": 1}


class Mcmi(Fixed):
    """MCMI: imitate teachers that were trained on to tell more than the class (Ye et al., ICLR 2024).

    The paper trains one teacher and chooses the weight of the added term; the bank has one weight.
    """

    rule = {"ce": 1, "forward": 1, "temperature": 4, "outspoken": 1}


class McmiZero(Fixed):
    """MCMI with the added term at zero: teachers as cross entropy made them."""

    rule = {**Mcmi.rule, "outspoken": 0}


class Lelp(Fixed):
    """LELP: imitate pseudo-subclasses along directions of the teacher's features (Loo et al., "Linear projections of teacher
    embeddings for few-class distillation", 2024).

    The paper's student has subclasses alone, whose sums are its classes, and is for tasks of few classes. Here subclasses have
    a head of their own beside ten classes.
    """

    rule = {"ce": 1, "forward": 1, "temperature": 4, "subclasses": 1}


class LelpNone(Fixed):
    """LELP without subclasses: plain distillation beside cross entropy."""

    rule = {**Lelp.rule, "subclasses": 0}


class Lad(Fixed):
    """LAD: imitate a teacher that reads a noised label beside the image (label-assisted distillation).

    The paper segments images and trains the teacher to be robust to the noise. Here only the share of noise is decided.
    """

    rule = {"ce": 1, "assisted": 1, "assisted_noise": 0.5}


class LadBlind(Fixed):
    """LAD with a label that says nothing: nine of ten are wrong, among ten classes."""

    rule = {**Lad.rule, "assisted_noise": 0.9}


class MedDet(Fixed):
    """MedDet: several teachers, and a critic that tells the student's features from theirs. Decision only.

    The paper detects discs in magnetic resonance images. The critic compares with the most trusted teacher, here the first.
    """

    rule = {"ce": 1, "forward": 1, "temperature": 4, "adversarial": 0.3}


class MedDetNoCritic(Fixed):
    """MedDet without the critic: several teachers alone."""

    rule = {**MedDet.rule, "adversarial": 0}


class UniDistill(Fixed):
    """UniDistill: features, the relation of items and responses at once (Zhou et al., CVPR 2023). Decision only.

    In the paper the teacher sees other sensors than the student, and terms are taken at the places of objects.
    """

    rule = {"ce": 1, "forward": 1, "temperature": 4, "feature": 1, "relation": 0.5}


class UniDistillResponse(Fixed):
    """UniDistill with responses alone, without features and relations."""

    rule = {**UniDistill.rule, "feature": 0, "relation": 0}


class ScaleKd(Fixed):
    """ScaleKD: features as they are and without what all have in common, and features read by the teacher's own head (Fan et
    al., NeurIPS 2024).

    In the paper attention projects the features, and the second view lacks low frequencies of an image; here one layer
    projects, and the second view lacks the mean of the batch.
    """

    rule = {"ce": 1, "forward": 0.5, "temperature": 1, "feature": 1, "high_pass": 0.43, "through_teacher": 1}


class ScaleKdNoHead(Fixed):
    """ScaleKD without the teacher's own head."""

    rule = {**ScaleKd.rule, "through_teacher": 0}


class TransKd(Fixed):
    """TransKD: the first stage and the last stage imitate the teacher's, beside its logits (Liu et al., 2022). Decision only.

    The paper segments images, and fuses the features of all stages by attention.
    """

    rule = {"ce": 1, "forward": 1, "temperature": 4, "embedding": 1, "feature": 1}


class TransKdLogits(Fixed):
    """TransKD without the stages: logits alone."""

    rule = {**TransKd.rule, "embedding": 0, "feature": 0}
