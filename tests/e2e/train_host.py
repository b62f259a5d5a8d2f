"""A host that is given commands one after the other, since to load what they need takes longer than to follow them:
a line of JSON with the arguments, and one with the exit status and what it printed. `python -m tests.e2e.train_host`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.commands import within


def main() -> None:
    # what stands in standard output are the answers, whoever else writes there
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        done = within(Path.cwd(), *json.loads(line))
        answers.write(json.dumps([done.returncode, done.stdout]) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
