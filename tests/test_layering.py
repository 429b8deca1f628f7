"""Who may import whom (contract): kernels ← models ← service, and the HTTP process stays free of torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("kernels", "models", "service")
ROOMS = ("http", "front", "workers", "engine", "wire")  # imports go to the right
LEAVES = ("image", "telemetry")  # of rooms they import `wire` alone
BASICS = {"environment", "errors", "forms", "http_limits", "settings", "version"}
LIGHT_MODELS = {  # the standard library alone
    f"dit_serve.models.{each}" for each in ("checks", "errors", "labels", "options", "scalars")
}
HEAVY = {"torch", "numpy", "diffusers", "triton", "safetensors", "transformers", "huggingface_hub"}
WORKER_SIDE = {"dit_serve.service.workers.process"}


def modules(package: str) -> dict[str, ast.Module]:
    """Every module of a package, by the name it is imported by, as its syntax tree."""
    return {
        ".".join(("dit_serve", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): ast.parse(
            path.read_text()
        )
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def imports(tree: ast.AST) -> Iterator[str]:
    """All modules that are imported anywhere in a module, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield str(node.module)


def roots(tree: ast.AST) -> set[str]:
    """The packages that a module imports from; of ours, "kernels", "models" and "service"."""
    return {name.removeprefix("dit_serve.").split(".")[0] for name in imports(tree)}


def room(name: str) -> str:
    """The room of a module of `service`: its folder, or its own name where it stands beside them."""
    return name.removeprefix("dit_serve.service").strip(".").split(".")[0]


MODULES = [(package, name, tree) for package in PACKAGES for name, tree in modules(package).items()]
IDS = [name for _, name, _ in MODULES]


def test_there_is_something_to_look_at() -> None:
    assert {package for package, _, _ in MODULES} == set(PACKAGES)
    assert {room(name) for package, name, _ in MODULES if package == "service"} >= {*ROOMS, *LEAVES}


@pytest.mark.parametrize(("package", "name", "tree"), MODULES, ids=IDS)
def test_layers_import_downwards_only(package: str, name: str, tree: ast.Module) -> None:
    used = roots(tree)
    if package == "kernels":
        assert used <= {"torch", "triton", "kernels"} | set(sys.stdlib_module_names)
    if package == "models":
        assert not used & {"service", "tests", "benchmarks", "fastapi", "starlette", "uvicorn", "pydantic"}
    if package == "service":
        assert not used & {"kernels", "tests", "benchmarks"}


@pytest.mark.parametrize(("name", "tree"), [(name, tree) for package, name, tree in MODULES if package == "service"])
def test_rooms_of_the_service_import_downwards_only(name: str, tree: ast.Module) -> None:
    here, used = room(name), {room(each) for each in imports(tree) if each.startswith("dit_serve.service")}
    if here in ROOMS:
        allowed = {*ROOMS[ROOMS.index(here) :], *LEAVES, *BASICS}
    elif here in LEAVES:
        allowed = {here, "wire", "errors", "version"}
    elif here in BASICS:
        allowed = {"errors", "environment", "forms", "http_limits"}
    else:
        return  # the command line may use all of it
    assert used <= allowed


@pytest.mark.parametrize("name", ["dit_serve.service", *(f"dit_serve.service.{each}" for each in (*ROOMS, *LEAVES))])
def test_a_room_says_what_it_is_for_and_nothing_else(name: str) -> None:
    (tree,) = [tree for _, each, tree in MODULES if each == name]
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


@pytest.mark.parametrize(("package", "name", "tree"), MODULES, ids=IDS)
def test_commands_alone_import_a_model(package: str, name: str, tree: ast.Module) -> None:
    """The worker process is told by name what loads one, behind the door that the engine declares."""
    if package == "service" and room(name) != "commands":
        assert {each for each in imports(tree) if each.startswith("dit_serve.models")} <= LIGHT_MODELS


@pytest.mark.parametrize(("package", "name", "tree"), MODULES, ids=IDS)
def test_heavy_packages_stay_out_of_the_http_side(package: str, name: str, tree: ast.Module) -> None:
    if package == "service" and name not in WORKER_SIDE and room(name) != "commands":
        assert not roots(tree) & HEAVY
        assert not WORKER_SIDE & set(imports(tree))


LIGHT = (
    "",
    ".service.http.server",
    ".service.cli",
    ".service.commands.serve",
    ".service.commands.doctor",
    ".service.commands.health",
    ".models.checks",
    ".models.errors",
    ".models.labels",
    ".models.options",
    ".models.scalars",
)


@pytest.mark.parametrize("name", [f"dit_serve{each}" for each in LIGHT])
def test_importing_the_http_side_loads_nothing_heavy(name: str) -> None:
    heavy = run(f"import sys, {name}; print(*sorted({HEAVY} & set(sys.modules)))")
    assert heavy.split() == []


@pytest.mark.parametrize("command", [[], ["--help"], ["--version"], ["nonsense"]])
def test_the_command_line_starts_without_torch(command: list[str]) -> None:
    code = (
        f"import sys; from dit_serve.service.cli import main\ntry: main({command})\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules, 'fastapi' in sys.modules)"
    )
    assert run(code).splitlines()[-1] == "False False"


def test_diffusers_imports_beside_our_kernels_package() -> None:
    """`kernels` is also a package on PyPI that diffusers imports when it finds it: ours must not pass for it."""
    run("import dit_serve.kernels, diffusers; diffusers.AutoencoderKL")


@pytest.mark.parametrize(("package", "name", "tree"), MODULES, ids=IDS)
def test_nothing_is_pickled(package: str, name: str, tree: ast.Module) -> None:
    """A pickle is code. Only the child process of a conversion has any opened, by an unpickler that runs nothing."""
    if name != "dit_serve.models.checkpoints.pickles.restricted_pickle":
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
