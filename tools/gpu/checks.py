"""The tests marked `gpu`, on the card."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from alexnet_lib.evidence.records import REPOSITORY

FILE = "tests/test_gpu.py"
REHEARSED = "layer or update or card"  # by name; on the CPU the whole file is part of the test suite anyway


def rows(asked: argparse.Namespace, deadline: float) -> Iterator[dict]:
    """A row a test: passed, failed or skipped, and why."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", FILE, "-m", "gpu", "-p", "no:cacheprovider", f"--junitxml={report}"]
        command += ["-k", REHEARSED] if asked.device == "cpu" else []
        env = os.environ | {"ALEXNET_DEVICE": asked.device, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        left = deadline - time.monotonic() if asked.device != "cpu" else None
        try:
            subprocess.run(command, cwd=REPOSITORY, env=env, timeout=left)
        except subprocess.TimeoutExpired:
            yield {"what": FILE, "how": "failed", "why": "not done in time"}
        if not report.exists():
            yield {"what": FILE, "how": "failed", "why": "pytest gave no report; what it said is above"}
            return
        for case in ElementTree.parse(report).iter("testcase"):
            outcome = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
            how = {None: "passed", "skipped": "skipped"}.get(None if outcome is None else outcome.tag, "failed")
            why = "" if outcome is None else (outcome.get("message") or "").splitlines()[0][:200]
            yield {"what": case.get("name"), "how": how, "why": why, "seconds": float(case.get("time"))}
