"""What the entry point names; it imports nothing that is slow, since ``kdgym list`` reads it."""

from kdgym import Entry

DRILL = Entry(
    "digits/Drill-v0",
    module="kdgym_digits.drill",
    population="Drill",
    summary="Split practice over three questions about two digits.",
    controls=("uniform", "random"),
    published="on_target",
    teachers=("follows_reward",),
    upper_bounds=(),
    group="Drill",
    trained=("drill_ppo",),
    small={"steps": 3, "items": 32},
    episodes=8,
)
