"""How a language model is reached: models on disk, and one small protocol for everything that answers conversations."""

from kdgym.llm.chat import Answer, Chat, Conversation, Transcript, UnreachableError
from kdgym.llm.connect import reach

__all__ = ["Answer", "Chat", "Conversation", "Transcript", "UnreachableError", "reach"]
