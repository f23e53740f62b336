"""``python -m racksort``."""

from racksort.cli import main

main()
