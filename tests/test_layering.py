"""Who may import whom (contract): kernels ← models ← service, and the HTTP process stays free of torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("kernels", "models", "service", "tests", "benchmarks")
OPENS_MODELS = {"service.door"}  # and the commands
HEAVY = {"torch", "numpy", "diffusers", "triton", "safetensors", "transformers", "huggingface_hub"}
WORKER_SIDE = {"service.door", "service.worker"}


def modules(package: str) -> dict[str, ast.Module]:
    """Every module of a package, by name, as its syntax tree."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_text())
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def imports(tree: ast.AST) -> Iterator[str]:
    """All names that are imported anywhere in a module, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield str(node.module)


def roots(tree: ast.AST) -> set[str]:
    return {name.split(".")[0] for name in imports(tree)}


PACKAGES = ("kernels", "models", "service")
MODULES = [(package, name, tree) for package in PACKAGES for name, tree in modules(package).items()]
IDS = [name for _, name, _ in MODULES]


def test_there_is_something_to_look_at() -> None:
    assert {package for package, _, _ in MODULES} == {"kernels", "models", "service"}


@pytest.mark.parametrize(("package", "name", "tree"), MODULES, ids=IDS)
def test_layers_import_downwards_only(package: str, name: str, tree: ast.Module) -> None:
    used = roots(tree)
    if package == "kernels":
        assert used <= {"torch", "triton", "kernels"} | set(sys.stdlib_module_names)
    if package == "models":
        assert not used & {"service", "tests", "benchmarks", "fastapi", "starlette", "uvicorn", "pydantic"}
    if package == "service":
        assert not used & {"kernels", "tests", "benchmarks"}


@pytest.mark.parametrize(("package", "name", "tree"), MODULES, ids=IDS)
def test_the_service_opens_models_through_its_door_and_commands_alone(
    package: str, name: str, tree: ast.Module
) -> None:
    if package == "service" and name not in OPENS_MODELS and not name.startswith("service.commands."):
        reached = {each for each in imports(tree) if each.split(".")[0] == "models"}
        assert reached <= {"models.labels"}  # names of classes: the standard library alone


@pytest.mark.parametrize(("package", "name", "tree"), MODULES, ids=IDS)
def test_heavy_packages_stay_out_of_the_http_side(package: str, name: str, tree: ast.Module) -> None:
    if package == "service" and name not in WORKER_SIDE and not name.startswith("service.commands."):
        assert not roots(tree) & HEAVY
        assert not WORKER_SIDE & set(imports(tree))


@pytest.mark.parametrize("name", ["service.server", "service.cli", "service.commands.serve", "models.labels"])
def test_importing_the_http_side_loads_nothing_heavy(name: str) -> None:
    heavy = run(f"import sys, {name}; print(*sorted({HEAVY} & set(sys.modules)))")
    assert heavy.split() == []


@pytest.mark.parametrize("command", [[], ["--help"], ["--version"], ["nonsense"]])
def test_the_command_line_starts_without_torch(command: list[str]) -> None:
    code = (
        f"import sys; from service.cli import main\ntry: main({command})\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules, 'fastapi' in sys.modules)"
    )
    assert run(code).splitlines()[-1] == "False False"


def test_diffusers_imports_beside_our_kernels_package() -> None:
    """`kernels` is also a package on PyPI that diffusers imports when it finds it: ours must not pass for it."""
    assert run("import kernels, diffusers; print(kernels.__file__); diffusers.AutoencoderKL").startswith(str(ROOT))


@pytest.mark.parametrize(("package", "name", "tree"), MODULES, ids=IDS)
def test_nothing_is_pickled(package: str, name: str, tree: ast.Module) -> None:
    """A pickle is code. models.unpickle alone, the child process that converts old checkpoints, opens any."""
    if name != "models.unpickle":
        assert not roots(tree) & {"pickle", "cloudpickle", "dill", "shelve", "marshal", "multiprocessing"}


@pytest.mark.parametrize(("package", "name", "tree"), MODULES, ids=IDS)
def test_modules_keep_no_mutable_state(package: str, name: str, tree: ast.Module) -> None:
    """Names in capitals are constants by agreement; any other name that a module binds to a container is state."""
    containers = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, containers):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                assert ast.unparse(target) == "__all__" or ast.unparse(target).isupper(), ast.unparse(node)
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Global)], f"{name} rebinds a global"


def run(code: str) -> str:
    """The output of a fresh interpreter at the repository's root."""
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
