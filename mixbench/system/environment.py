"""Environment variables that mixbench and its libraries read: put right at start, checked, named where one is wrong."""

import os
import re
import sys
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path

from mixbench.errors import RequestError, cut

FOLDERS = ("MIXBENCH_DATA", "MIXBENCH_CACHE", "MIXBENCH_CONTENT")
LONGEST_TEMPORARY = 70
"""Bytes of the temporary folder's path: a socket's path has at most 107, and multiprocessing adds 32."""
THREADS = (r"[1-9]\d*( *, *[1-9]\d*)*", "a number of threads is wanted")
DEVICES = r"NoDevFiles|(-?\d+|(GPU|MIG)-[\w/-]+)( *, *(-?\d+|(GPU|MIG)-[\w/-]+))*"
FORMS = {
    "OMP_NUM_THREADS": THREADS,
    "MKL_NUM_THREADS": THREADS,
    "DEEPSPEED_TIMEOUT": (r"\d+", "a whole number of minutes is wanted"),
    "TORCHINDUCTOR_COMPILE_THREADS": (r"[1-9]\d*", "a number of processes is wanted"),
    "CUDA_VISIBLE_DEVICES": (DEVICES, "numbers of GPUs, or their names, are wanted: 0,1"),
}
"""Variables whose wrong value a library ignores, or reports without the variable's name, and what they may be."""
READ_IN_C = ("GLOO_", "NCCL_", "CUDA_", "OMP_", "KMP_", "MKL_", "TORCH")


def prepare() -> None:
    """Put this process's environment right, for itself and the processes that it starts.

    Paths become absolute, `~` too.  Other Python processes import nothing from the working folder.  A missing home
    folder and a temporary folder whose path is too long for sockets are replaced, which is told on stderr.
    """
    for name in FOLDERS:
        if path := named_folder(name):
            os.environ[name] = str(path)
    for name in ("COLUMNS", "LINES"):  # rich prints nothing in 0 columns
        if not os.environ.get(name, "1").lstrip("0").isdigit():
            del os.environ[name]
    os.environ.pop("MPLBACKEND", None)  # figures are drawn without a window
    _keep_imports()
    if len(os.fsencode(os.environ.get("TMPDIR", ""))) > LONGEST_TEMPORARY:
        _shorten_temporary()
    if not os.path.isabs(os.path.expanduser("~")):
        _replace_home()


def named_folder(variable: str) -> Path | None:
    """The absolute path that an environment variable names, `~` expanded; None if it is not set, or empty."""
    value = os.environ.get(variable)
    return Path(os.path.abspath(os.path.expanduser(value))) if value else None


def check() -> None:
    """Raise RequestError if a variable is not of the form that a library needs, a line for each."""
    problems = []
    for name, (form, wanted) in FORMS.items():
        value = os.environ.get(name, "").strip()
        if value and not re.fullmatch(form, value):
            problems.append(f"the environment variable {name} is {cut(value)!r}: {wanted}")
    if problems:
        raise RequestError("\n".join(problems))


def blamed(error: BaseException) -> str:
    """The environment variables that an error is about, as "DEEPSPEED_TIMEOUT='x' in the environment: "; else empty.

    A library's code on the way to the error reads the variable, and the error's text holds its name or value.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    read = {constant for frame in frames for constant in frame.f_code.co_consts if isinstance(constant, str)} - {"_"}
    found = [
        f"{name}={cut(value)!r}"
        for name, value in os.environ.items()
        if (name in read or name.startswith(READ_IN_C)) and _mentions(str(error).lower(), name.lower(), value.lower())
    ]
    return f"{' or '.join(sorted(found))} in the environment: " if found else ""


def _mentions(text: str, name: str, value: str) -> bool:
    """True if a text holds a variable's name, or its value: in quotes, or as a word that is no number and no path."""
    is_word = len(value) > 2 and not value.isdigit() and "/" not in value
    return name in text or repr(value) in text or (is_word and bool(re.search(rf"\b{re.escape(value)}\b", text)))


def _keep_imports() -> None:
    """Have the Python processes started here import this mixbench, and no module of the working folder's."""
    os.environ["PYTHONSAFEPATH"] = "1"
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]  # "" is the working folder
    root = str(Path(__file__).resolve().parents[2])
    if not sys.flags.safe_path and os.path.realpath(sys.path[0]) == root:  # `python -m mixbench` in a checkout
        paths.insert(0, root)
    if paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)


def _shorten_temporary() -> None:
    """Use the usual temporary folder.  Raises RequestError if nothing can be written there either."""
    given = os.environ.pop("TMPDIR")
    tempfile.tempdir = None  # look again
    problem = f"TMPDIR has {len(os.fsencode(given))} characters, sockets in it allow {LONGEST_TEMPORARY}"
    short = tempfile.gettempdir()
    if len(os.fsencode(short)) > LONGEST_TEMPORARY:
        raise RequestError(f"{problem}: set a shorter one")
    os.environ["TMPDIR"] = short
    print(f"mixbench: {problem}: {short} is used instead", file=sys.stderr)


def _replace_home() -> None:
    """Make a home folder for a user who has none: without $HOME, and unknown to the machine, as in containers."""
    home = Path(tempfile.gettempdir()) / f"mixbench-{os.getuid()}"
    with suppress(FileExistsError):
        home.mkdir(mode=0o700)
    if home.is_symlink() or home.stat().st_uid != os.getuid():
        raise RequestError(f"this user has no home folder, and {home} is another's: set $HOME")
    os.environ["HOME"] = str(home)
    os.environ.setdefault("USER", f"uid{os.getuid()}")  # where libraries ask for the user's name
    print(f"mixbench: this user has no home folder ($HOME is not set): {home} is used", file=sys.stderr)
