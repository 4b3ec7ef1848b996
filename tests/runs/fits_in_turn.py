"""Runs ``focusgym fit`` several times in a process that torchrun started; see test_fit_processes.

It is started once because starting takes longer than all that it does.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from focusgym.runs.cli import main

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    status = {}
    for name, arguments in json.loads((folder / "commands.json").read_text()).items():
        for stream in (sys.stdout, sys.stderr):
            print(f"[{name}]", file=stream, flush=True)
        try:
            main(["fit", *arguments])
            status[name] = 0
        except SystemExit as error:
            status[name] = int(error.code or 0)
        sys.stdout.flush()
    (folder / f"status.{os.environ['RANK']}").write_text(json.dumps(status))
