"""The layout of the code: who may import whom, one name for one module, files that fit on a few screens."""

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "mixbench").rglob("*.py"))
FAMILIES = sorted((ROOT / "models").glob("*.py"))
A_FAMILY_IMPORTS = {"torch", "math", "fractions", "functools", "collections", "itertools", "typing"}
A_FAMILY_IMPORTS |= {"mixbench.zoo.registry", "mixbench.zoo.layers", "mixbench.zoo.initialization"}


def test_imports_run_down_the_layers() -> None:
    """The contracts stand in pyproject.toml, [tool.importlinter]."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 kept, 0 broken" in done.stdout


def test_no_module_name_exists_twice() -> None:
    """But for mixbench.registry, the public address of mixbench.zoo.registry."""
    public = ROOT / "mixbench" / "registry.py"
    names = Counter(path.stem for path in MODULES if not path.stem.startswith("__") and path != public)
    assert not [name for name, times in names.items() if times > 1]


def test_init_files_hold_a_docstring_and_nothing_else() -> None:
    """But for the root, whose public functions are imported lazily, and zoo, which finds the families in models/."""
    for path in MODULES:
        if path.name == "__init__.py" and path.parent.name not in ("mixbench", "zoo"):
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert len(body) == 1, path
            assert ast.get_docstring(ast.Module(body, [])), path


def test_the_position_of_a_training_is_changed_by_its_loop_alone() -> None:
    changed = {
        path.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if isinstance(node.value, ast.Name) and node.value.id == "position"
    }
    assert changed == {"loop.py"}


def test_files_are_short() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in [*MODULES, *FAMILIES]}
    assert not {path: n for path, n in lines.items() if n > (200 if path in FAMILIES else 300)}


@pytest.mark.parametrize("path", FAMILIES, ids=lambda path: path.stem)
def test_a_family_imports_torch_and_its_parts_alone(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or "."] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert name in A_FAMILY_IMPORTS or name.split(".")[0] in A_FAMILY_IMPORTS, name


@pytest.mark.parametrize("text", ["README.md", "CONTRIBUTING.md", "slurm/README.md", "CHANGELOG.md"])
def test_paths_and_modules_named_in_texts_exist(text: str) -> None:
    named = re.compile(r"`((?:mixbench|models|suites|slurm|reports|tests)/[\w./-]*\w)`|-m (mixbench[\w.]*\w)")
    found = named.findall((ROOT / text).read_text(encoding="utf-8"))
    places = [path or module.replace(".", "/") for path, module in found if "/my" not in path]
    assert not [place for place in places if not any((ROOT / f"{place}{end}").exists() for end in ("", ".py"))]


def test_the_pages_script_has_no_name_twice() -> None:
    """Its files are joined, so that the later of two functions of a name would take the place of the earlier."""
    files = [path for path in (ROOT / "reports" / "script").glob("*.js") if not path.stem.endswith(".min")]
    named = re.compile(r"^(?:async )?(?:function|const|let|class) (\w+)", re.MULTILINE)
    names = Counter(name for path in files for name in named.findall(path.read_text(encoding="utf-8")))
    assert "leaderboard" in names and not [name for name, times in names.items() if times > 1]
