"""SPL without pairs of labels: learns known labels alone in the first half, then the sources' votes too."""

from kdgym.agents.label import spl


class Agent(spl.Agent):
    sublabels = 0.0
