"""Finds the content folders that users edit: models, suites, slurm, reports.

In a checkout they are beside the engine; a wheel contains a copy.
"""

from pathlib import Path

from mixbench.errors import RequestError
from mixbench.system.environment import named_folder

_PACKAGE = Path(__file__).resolve().parent.parent


def root() -> Path:
    """The folder that holds the content folders: `$MIXBENCH_CONTENT`, else the checkout, else the wheel's copy.

    Raises RequestError where `$MIXBENCH_CONTENT` is no such folder.
    """
    if chosen := named_folder("MIXBENCH_CONTENT"):
        if not (chosen / "models").is_dir():
            raise RequestError(f"$MIXBENCH_CONTENT is {chosen}, which has no folder models")
        return chosen.resolve()
    if (_PACKAGE.parent / "pyproject.toml").is_file() and (_PACKAGE.parent / "models").is_dir():
        return _PACKAGE.parent
    return _PACKAGE / "_content"


def content(folder: str) -> Path:
    """The path of one content folder: "models", "suites", "slurm" or "reports"."""
    return root() / folder
