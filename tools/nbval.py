"""Runs the committed notebooks with nbval, outputs compared, with runs/ in a temporary folder so that none is resumed."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-sanitize-with", "tests/nbval_sanitize.cfg"]
        command += ["--nbval-cell-timeout", "600", *(sys.argv[1:] or ["notebooks"])]
        return subprocess.run(command, cwd=ROOT, env=os.environ | {"ALEXNET_RUNS": runs}).returncode


if __name__ == "__main__":
    sys.exit(main())
