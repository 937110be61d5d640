"""Control tasks as batched dynamics: a step of any number of simulators is a few tensor operations.

CartPole, MountainCar, Acrobot and Pendulum are Gymnasium's classic control, step for step in double precision (a test steps
both side by side); Pendulum's torque is one of five levels. PointMaze is a maze of our own. States are float64 [..., n].
Observations are Gymnasium's, scaled to about [-1, 1]. Every task also has a scripted expert.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

Outcome = tuple[Tensor, Tensor, Tensor]  # next state [..., n], reward [...], terminated bool [...]


class Control(ABC):
    """One task.

    Attributes:
        name: of the task.
        gymnasium_id: of the same environment in Gymnasium, or empty.
        version: of what scores depend on.
        state_size: numbers n of a state.
        observation_size: width of an observation.
        actions: how many there are.
        limit: steps after which an episode is truncated.
        discount: of the students.
        sparse: students get a reward of 1 for arriving and 0 otherwise, in place of Gymnasium's. With its -1 a step, a critic
            that begins at 0 would be optimistic, and students would explore without any help.
        reward_scale: makes discounted returns lie in [-1, 1], where rewards are not sparse.
        floor, ceiling: returns from an ordinary start that count as 0 and 1.
        expert_epsilon: probability that the demonstrator, whose trajectories snapshots lie on, acts at random. So a task
            without a goal has states of different value.
    """

    name: ClassVar[str]
    gymnasium_id: ClassVar[str] = ""
    version: ClassVar[int] = 0
    state_size: ClassVar[int]
    observation_size: ClassVar[int]
    actions: ClassVar[int]
    limit: ClassVar[int]
    discount: ClassVar[float] = 0.99
    sparse: ClassVar[bool] = False
    reward_scale: ClassVar[float] = 1.0
    floor: ClassVar[float]
    ceiling: ClassVar[float]
    expert_epsilon: ClassVar[float] = 0.0

    @abstractmethod
    def start(self, noise: Tensor) -> Tensor:
        """Ordinary starts from uniform noise in [0, 1): [..., n] -> states [..., n]."""

    @abstractmethod
    def step(self, state: Tensor, action: Tensor) -> Outcome:
        """One step of every simulator: states [..., n], actions int64 [...]."""

    @abstractmethod
    def observe(self, state: Tensor) -> Tensor:
        """Observations: float32 [..., observation_size]."""

    @abstractmethod
    def expert(self, state: Tensor) -> Tensor:
        """What the scripted expert does: int64 [...]."""

    def succeeded(self, state: Tensor, terminated: Tensor) -> Tensor:
        """Whether episodes that ended in these states were successes, bool [...]."""
        return terminated

    def training_reward(self, reward: Tensor, terminated: Tensor) -> Tensor:
        """The reward that students learn from, float64 [...]: sparse, or scaled."""
        return terminated.double() if self.sparse else self.reward_scale * reward

    def score(self, total: Tensor) -> Tensor:
        """Undiscounted returns from ordinary starts, on a scale from 0 to 1."""
        return ((total - self.floor) / (self.ceiling - self.floor)).clamp(0, 1)


class CartPole(Control):
    """Gymnasium's CartPole-v1."""

    name, gymnasium_id = "CartPole", "CartPole-v1"
    state_size, observation_size, actions, limit = 4, 4, 2, 500
    reward_scale, floor, ceiling, expert_epsilon = 0.01, 0.0, 500.0, 0.45

    def start(self, noise: Tensor) -> Tensor:
        return -0.05 + 0.1 * noise

    def step(self, state: Tensor, action: Tensor) -> Outcome:
        x, x_dot, theta, theta_dot = state.unbind(-1)
        force = 20.0 * action - 10.0
        cos, sin = theta.cos(), theta.sin()
        push = (force + 0.05 * theta_dot.square() * sin) / 1.1
        theta_acc = (9.8 * sin - cos * push) / (0.5 * (4.0 / 3.0 - 0.1 * cos.square() / 1.1))
        x_acc = push - 0.05 * theta_acc * cos / 1.1
        moved = torch.stack([x_dot, x_acc, theta_dot, theta_acc], dim=-1)
        state = state + 0.02 * moved
        fallen = (state[..., 0].abs() > 2.4) | (state[..., 2].abs() > 12 * 2 * math.pi / 360)
        return state, torch.ones_like(x), fallen

    def observe(self, state: Tensor) -> Tensor:
        return (state * state.new_tensor([1 / 2.4, 0.5, 1 / 0.21, 0.5])).float()

    def expert(self, state: Tensor) -> Tensor:
        x, x_dot, theta, theta_dot = state.unbind(-1)
        return (theta + 0.3 * theta_dot + 0.05 * x + 0.1 * x_dot > 0).long()

    def succeeded(self, state: Tensor, terminated: Tensor) -> Tensor:
        """The pole still stands."""
        return ~terminated


class MountainCar(Control):
    """Gymnasium's MountainCar-v0."""

    name, gymnasium_id = "MountainCar", "MountainCar-v0"
    state_size, observation_size, actions, limit = 2, 2, 3, 200
    sparse, floor, ceiling = True, -200.0, -100.0

    def start(self, noise: Tensor) -> Tensor:
        return torch.stack([-0.6 + 0.2 * noise[..., 0], torch.zeros_like(noise[..., 0])], dim=-1)

    def step(self, state: Tensor, action: Tensor) -> Outcome:
        position, velocity = state.unbind(-1)
        velocity = velocity + (0.001 * (action - 1) - 0.0025 * (3 * position).cos())
        velocity = velocity.clamp(-0.07, 0.07)
        position = (position + velocity).clamp(-1.2, 0.6)
        velocity = torch.where((position == -1.2) & (velocity < 0), 0.0, velocity)
        arrived = (position >= 0.5) & (velocity >= 0)
        return torch.stack([position, velocity], dim=-1), torch.full_like(position, -1), arrived

    def observe(self, state: Tensor) -> Tensor:
        return ((state + state.new_tensor([0.3, 0.0])) * state.new_tensor([1 / 0.9, 1 / 0.07])).float()

    def expert(self, state: Tensor) -> Tensor:
        """Rocks itself up: pushes where it rolls."""
        return 2 * (state[..., 1] >= 0).long()


class Acrobot(Control):
    """Gymnasium's Acrobot-v1."""

    name, gymnasium_id = "Acrobot", "Acrobot-v1"
    state_size, observation_size, actions, limit = 4, 6, 3, 500
    sparse, floor, ceiling = True, -500.0, -70.0

    def start(self, noise: Tensor) -> Tensor:
        return -0.1 + 0.2 * noise

    def step(self, state: Tensor, action: Tensor) -> Outcome:
        torque, dt = (action - 1).double(), 0.2
        k1 = self._derivative(state, torque)
        k2 = self._derivative(state + dt / 2 * k1, torque)
        k3 = self._derivative(state + dt / 2 * k2, torque)
        k4 = self._derivative(state + dt * k3, torque)
        theta1, theta2, dtheta1, dtheta2 = (state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)).unbind(-1)
        velocities = dtheta1.clamp(-4 * math.pi, 4 * math.pi), dtheta2.clamp(-9 * math.pi, 9 * math.pi)
        state = torch.stack([_wrapped(theta1), _wrapped(theta2), *velocities], dim=-1)
        up = -state[..., 0].cos() - (state[..., 0] + state[..., 1]).cos() > 1
        return state, up.double() - 1, up

    def _derivative(self, state: Tensor, torque: Tensor) -> Tensor:
        """The book's equations (Sutton and Barto, 2018) with unit masses, lengths and moments: [..., 4] -> [..., 4]."""
        theta1, theta2, dtheta1, dtheta2 = state.unbind(-1)
        cos, sin, g = theta2.cos(), theta2.sin(), 9.8
        d1, d2 = 3.5 + cos, 1.25 + 0.5 * cos
        phi2 = 0.5 * g * (theta1 + theta2 - math.pi / 2).cos()
        phi1 = -0.5 * dtheta2.square() * sin - dtheta2 * dtheta1 * sin + 1.5 * g * (theta1 - math.pi / 2).cos() + phi2
        acc2 = (torque + d2 / d1 * phi1 - 0.5 * dtheta1.square() * sin - phi2) / (1.25 - d2.square() / d1)
        return torch.stack([dtheta1, dtheta2, -(d2 * acc2 + phi1) / d1, acc2], dim=-1)

    def observe(self, state: Tensor) -> Tensor:
        theta1, theta2, dtheta1, dtheta2 = state.unbind(-1)
        seen = [theta1.cos(), theta1.sin(), theta2.cos(), theta2.sin(), dtheta1 / 4, dtheta2 / 6]
        return torch.stack(seen, dim=-1).float()

    def expert(self, state: Tensor) -> Tensor:
        """Pumps energy: turns the second link against the first one's swing."""
        return 2 * (state[..., 2] < 0).long()


class Pendulum(Control):
    """Gymnasium's Pendulum-v1 with torques -2, -1, 0, 1 and 2."""

    name, gymnasium_id = "Pendulum", "Pendulum-v1"
    state_size, observation_size, actions, limit = 2, 3, 5, 200
    reward_scale, floor, ceiling = 0.01 / 16.3, -1600.0, -150.0

    def start(self, noise: Tensor) -> Tensor:
        return (2 * noise - 1) * noise.new_tensor([math.pi, 1.0])

    def step(self, state: Tensor, action: Tensor) -> Outcome:
        theta, speed = state.unbind(-1)
        torque = (action - 2).double()
        cost = _wrapped(theta).square() + 0.1 * speed.square() + 0.001 * torque.square()
        speed = (speed + (15.0 * theta.sin() + 3.0 * torque) * 0.05).clamp(-8, 8)
        return torch.stack([theta + 0.05 * speed, speed], dim=-1), -cost, torch.zeros_like(cost, dtype=torch.bool)

    def observe(self, state: Tensor) -> Tensor:
        theta, speed = state.unbind(-1)
        return torch.stack([theta.cos(), theta.sin(), speed / 8], dim=-1).float()

    def expert(self, state: Tensor) -> Tensor:
        """Swings up by energy, and balances where that is in reach."""
        theta, speed = _wrapped(state[..., 0]), state[..., 1]
        missing = 15.0 * (1 - theta.cos()) - 0.5 * speed.square()  # energy below that of standing still at the top
        swing = 2 * torch.sign(speed + 1e-9) * torch.sign(missing)
        balance = -(8 * theta + 2 * speed)
        return torch.where(theta.abs() < 0.5, balance, swing).clamp(-2, 2).round().long() + 2

    def succeeded(self, state: Tensor, terminated: Tensor) -> Tensor:
        """The pendulum stands."""
        return (state[..., 0].cos() > 0.95) & (state[..., 1].abs() < 1)


_MAZE = (
    "#######",
    "#G....#",
    "#####.#",
    "#.....#",
    "#.#####",
    "#....S#",
    "#######",
)


class PointMaze(Control):
    """A ball is pushed through a maze with three corridors; only the goal pays.

    The state is position and velocity, in cells and cells a step; x runs right and y down, cell (i, j) covers [i, i + 1) x
    [j, j + 1). Actions: do nothing, push right, left, down, up. A step keeps 80 % of the velocity and a push adds 0.06. The
    ball moves along x, then along y; a coordinate that would enter a wall keeps its value and loses its velocity. Episodes
    begin at rest anywhere in the middle of cell S, and end in cell G with reward 1; all other rewards are 0.
    """

    name = "PointMaze"
    state_size, observation_size, actions, limit = 4, 4, 5, 150
    sparse, floor, ceiling = True, 0.0, 1.0

    def __init__(self) -> None:
        self.wall = torch.tensor([[cell == "#" for cell in row] for row in _MAZE])  # [y, x]
        self.begin, self.goal = (next((row.index(c), y) for y, row in enumerate(_MAZE) if c in row) for c in "SG")
        self.ahead = self._directions()

    def start(self, noise: Tensor) -> Tensor:
        place = noise.new_tensor([*self.begin, 0, 0]) + 0.25
        return (place + 0.5 * noise) * noise.new_tensor([1, 1, 0, 0])

    def step(self, state: Tensor, action: Tensor) -> Outcome:
        push = state.new_tensor([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])[action]
        velocity = 0.8 * state[..., 2:] + 0.06 * push
        x, y = state[..., 0], state[..., 1]
        free = ~self._blocked(x + velocity[..., 0], y)
        x = torch.where(free, x + velocity[..., 0], x)
        along = ~self._blocked(x, y + velocity[..., 1])
        y = torch.where(along, y + velocity[..., 1], y)
        velocity = velocity * torch.stack([free, along], dim=-1)
        arrived = (x.floor() == self.goal[0]) & (y.floor() == self.goal[1])
        return torch.cat([torch.stack([x, y], dim=-1), velocity], dim=-1), arrived.double(), arrived

    def _blocked(self, x: Tensor, y: Tensor) -> Tensor:
        return self.wall.to(x.device)[y.long(), x.long()]

    def observe(self, state: Tensor) -> Tensor:
        middle, reach = state.new_tensor([3.5, 3.5, 0, 0]), state.new_tensor([2.5, 2.5, 0.3, 0.3])
        return ((state - middle) / reach).float()

    def expert(self, state: Tensor) -> Tensor:
        """Pushes towards the middle of the next cell on the shortest way, and brakes for bends."""
        column, row = state[..., 0].long(), state[..., 1].long()
        aim = torch.stack([column, row], dim=-1) + self.ahead.to(state.device)[row, column] + 0.5
        wanted = aim - state[..., :2] - 3 * state[..., 2:]
        across = wanted[..., 0].abs() >= wanted[..., 1].abs()
        return torch.where(across, 1 + (wanted[..., 0] < 0).long(), 3 + (wanted[..., 1] < 0).long())

    def _directions(self) -> Tensor:
        """From every cell, the step (dx, dy) towards the goal: int64 [y, x, 2]."""
        ahead, seen, queue = torch.zeros(*self.wall.shape, 2, dtype=torch.int64), {self.goal}, [self.goal]
        for x, y in queue:
            for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                cell = (x + dx, y + dy)
                if cell not in seen and not self.wall[cell[1], cell[0]]:
                    ahead[cell[1], cell[0]] = torch.tensor([-dx, -dy])
                    seen.add(cell)
                    queue.append(cell)
        return ahead


def _wrapped(angle: Tensor) -> Tensor:
    """The same angle within [-pi, pi)."""
    return (angle + math.pi).remainder(2 * math.pi) - math.pi


_CONTROLS: tuple[type[Control], ...] = (CartPole, MountainCar, Acrobot, Pendulum, PointMaze)
CONTROLS = {kind.name: kind for kind in _CONTROLS}


def make_control(name: str) -> Control:
    """A task by its name.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in CONTROLS:
        raise ValueError(f"There is no control task {name!r}; choose from {', '.join(CONTROLS)}.")
    return CONTROLS[name]()
