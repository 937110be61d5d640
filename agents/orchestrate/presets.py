"""Fixed lanes of the Orchestrate family: the same supervision for every task."""

from kdgym.teaching import Fixed


class AlwaysAuto(Fixed):
    """No supervision, whatever the task: a fixed lane, without notes."""

    rule = {"lane": "auto", "plan": "own", "operation": "keep"}


class AlwaysPaired(Fixed):
    """A supervisor validates every answer, whatever the task: a fixed lane, with notes written after and read before
    each."""

    rule = {"lane": "paired", "plan": "similar", "operation": "write"}


class AlwaysCoach(Fixed):
    """A supervisor reviews every plan and answer, whatever the task: a fixed lane, without notes."""

    rule = {"lane": "coach", "plan": "own", "operation": "keep"}


class AlwaysStepwise(Fixed):
    """A supervisor checks every step, whatever the task: a fixed lane, without notes."""

    rule = {"lane": "stepwise", "plan": "own", "operation": "keep"}
