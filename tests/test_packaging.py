"""What an installed library needs and holds: a wheel without the repository around it."""

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import distributions, packages_distributions, version

import pytest
from helpers import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NEEDED = {r.name: r for r in map(Requirement, tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])}
PINNED = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE))


def test_the_lock_has_every_package_and_the_checksums_of_its_files():
    """`make lock` writes it from requirements.txt; pip takes no file with another checksum."""
    blocks = re.split(r"^(?=[a-zA-Z0-9])", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)[1:]
    locked = {}
    for block in blocks:
        name, number = re.match(r"([\w.-]+)==([^\s;]+)", block).groups()
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), name
        locked.setdefault(canonicalize_name(name), set()).add(number)
    assert {canonicalize_name(name): {number} for name, number in PINNED.items()}.items() <= locked.items(), "run make lock"
    site = sysconfig.get_path("purelib")  # not what setuptools has in its own folder, which it puts on the path
    there = {canonicalize_name(d.metadata["Name"]): d for d in distributions(path=[site])}
    needed, seen = [canonicalize_name(name) for name in PINNED], set()
    while needed:  # all that these need here, and what that needs
        if (name := needed.pop()) in seen:
            continue
        seen.add(name)
        assert there[name].version in locked[name], f"{name}: run make lock"
        wanted = map(Requirement, there[name].requires or [])
        needed += [
            canonicalize_name(r.name)
            for r in wanted
            if (r.marker is None or r.marker.evaluate({"extra": ""})) and canonicalize_name(r.name) in there
        ]
    assert len(seen) > 150


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel of what git knows of, unpacked into a folder."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", out, source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return out


def test_an_installed_library_has_the_verdicts(installed, tmp_path):
    def said(root) -> str:
        env = {k: v for k, v in os.environ.items() if not k.startswith("ALEXNET_")} | {"PYTHONPATH": str(root)}
        command = [
            sys.executable,
            "-c",
            "import alexnet_lib as a; print(a.__file__); from alexnet_lib.__main__ import main; main()",
        ]
        done = subprocess.run([*command, "claims"], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert str(root) in done.stdout.splitlines()[0], done.stderr[-2000:]
        return done.stdout.partition("\n")[2]

    assert said(installed) == said(ROOT) and "reproduced" in said(ROOT)


def test_what_is_imported_is_declared_and_what_is_declared_is_pinned_within_its_range():
    owners, imported = packages_distributions(), set()
    for path in (ROOT / "alexnet_lib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.split(".")[0])
    foreign = imported - sys.stdlib_module_names - {"alexnet_lib"}
    declared = {canonicalize_name(name) for name in NEEDED}
    assert {
        name: owners.get(name) for name in foreign if not declared & {canonicalize_name(n) for n in owners.get(name, [])}
    } == {}
    for name, needed in NEEDED.items():
        assert name in PINNED or name == "ipython", name
        assert needed.specifier.contains(PINNED.get(name) or version(name))
