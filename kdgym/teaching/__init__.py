"""What teachers share: their base, fixed rules, look-ahead, search, Stable-Baselines3, and language models that teach."""

from kdgym.storage import write_atomically
from kdgym.teaching.base import Fixed, Floats, Teacher

__all__ = ["Fixed", "Floats", "Teacher", "write_atomically"]
