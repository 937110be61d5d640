"""``python -m kdgym.cli``."""

from kdgym.cli import main

main()
