"""HSSDA's two thresholds: own labels above the upper one are believed, those between both in part (Liu et al., "Hierarchical
supervision and shuffle data augmentation for 3D semi-supervised object detection", CVPR 2023, section 3.2).

Expressed: 2-means of how sure own labels of each class are, anew at every step; its centres are the thresholds, and a label
counts as sure as the less sure of two views. Left out: point clouds, their shuffled patches, the scores of boxes. What is in
the middle counts half, in the paper by its score. There is one share of lower to upper threshold, the mean of all own labels.
"""

import numpy as np

from kdgym.agents.label._histograms import two_means
from kdgym.agents.label.presets import OWN
from kdgym.teaching import Floats, Teacher


class Agent(Teacher):
    middle, views = 0.5, 1.0

    def act(self, observation: dict[str, Floats]) -> Floats:
        classes = observation["prior"].shape[1]
        sure = observation["confidence"].astype(np.float64).reshape(len(observation["prior"]), classes, -1)
        low, high = two_means(sure)
        share = (sure.sum(2) * low / high).sum(1).clip(max=1)
        threshold = {f"threshold_{i}": high[:, i] for i in range(classes)}
        return np.asarray(self.action_space.encode(**OWN, low=share, middle=self.middle, views=self.views, **threshold))
