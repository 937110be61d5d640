"""Variants of every error, and real items for the rest of the money: LLM2LLM (Lee, Wattanawong, Kim et al., Findings of ACL
2024, section 3), its language model replaced by an engine that makes no mistakes. Compare copy_errors, which has no engine."""

import json

from kdgym.teaching import Teacher

VARIANTS = 20  # of every error; unlike copies, more are better


class Agent(Teacher):
    def act(self, observation):
        return [self._write(json.loads(text)) for text in observation]

    def _write(self, seen):
        lesson, rest = [], seen["items"]
        for error in seen["errors"]:  # of practice on real items alone: variants spawn no variants
            n = min(VARIANTS, rest)
            lesson += [{"draw": n, "like": error["problem"]}] if n else []
            rest -= n
        return json.dumps(lesson + ([{"draw": rest}] if rest else []))
