"""How a wrong request is made and judged: `mixbench run` as a shell would call it, and what it may leave behind."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mixbench.cli import main
from mixbench.cli.run import Session
from mixbench.zoo import registry

KEPT = {"name": "name: s", "models": "models: convmixer_256_8", "datasets": "datasets: digits"}
OBEYED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that a terminal obeys instead of showing."""
Refuse = Callable[..., str]


def suite_with(lines: str) -> str:
    """A good suite but for these lines, which come last."""
    given = {line.split(":")[0] for line in lines.splitlines()}
    return "\n".join([line for key, line in KEPT.items() if key not in given] + [lines]) + "\n"


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """All that is in a folder, but for what Python itself keeps of a plugin."""
    found = (path for path in folder.rglob("*") if path.name != "__pycache__" and path.suffix != ".pyc")
    return {str(path): path.read_bytes() if path.is_file() else None for path in found}


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Refuse]:
    """Call `mixbench run` with these words in an empty folder; give its message.

    It must end with exit code 2 and one plain message, and leave the folder as it was.
    """

    def let_through(session: Session, quiet: bool = False) -> dict[str, int]:
        raise AssertionError(f"let through: {len(session.trials)} trials")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Session, "run_all", let_through)
    registry.list_models()
    entries, modules = dict(registry._entries), set(sys.modules)

    def call(*words: str | Path) -> str:
        before = snapshot(tmp_path)
        monkeypatch.setattr(sys, "argv", ["mixbench", "run", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main.main()
        out, err = capsys.readouterr()
        assert end.value.code == 2
        assert out == "" and "Traceback" not in err and len(err) < 3000
        assert not OBEYED.search(err)
        assert snapshot(tmp_path) == before
        return err

    yield call
    registry._entries.clear()
    registry._entries.update(entries)
    for name in set(sys.modules) - modules:
        if name.startswith("mixbench_plugin_"):
            del sys.modules[name]
