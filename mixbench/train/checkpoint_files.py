"""One checkpoint on the disk: a folder of files with a manifest of their checksums, read only where they match.

step-<n>/  manifest.json (the checksums)  shared.pt (the same on all ranks)  rank-<r>.pt (each rank's own)
"""

import hashlib
import io
import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from pydantic import BaseModel, ValidationError

from mixbench.system.device import device_name
from mixbench.system.files import file_sha256
from mixbench.system.host import git_state, installed
from mixbench.system.words import plural

SCHEMA_VERSION = 1


class Manifest(BaseModel):
    """manifest.json: the trial a checkpoint belongs to, and its files.  `files`: name → SHA-256.

    `model_code`: hash of the source of the model, "" in older ones.
    """

    schema_version: int = SCHEMA_VERSION
    trial_id: str
    world_size: int
    made_with: str
    model_code: str = ""
    files: dict[str, str]


class Damaged(Exception):
    """The files of a checkpoint are not as they were written, or not those of this trial."""


def made_with() -> str:
    """All that must be the same for a resumed training to end with the same bits."""
    commit, changed = git_state()
    ours = f"mixbench {installed('mixbench')} {commit[:12]}{' and changes' if changed else ''}".strip()
    libraries = f"torch {torch.__version__}, deepspeed {installed('deepspeed')}"
    return f"{ours}, {libraries}, {device_name()}, threads: {torch.get_num_threads()}"


def read_manifest(folder: Path, trial_id: str, world_size: int, model_code: str) -> Manifest:
    """Raises Damaged where there is none, or it is of another trial, schema, number of processes or model's source."""
    try:
        manifest = Manifest.model_validate_json(_bytes(folder / "manifest.json"))
    except ValidationError as error:
        raise Damaged(f"manifest.json: {error.errors()[0]['msg']}") from None
    if (manifest.schema_version, manifest.trial_id) != (SCHEMA_VERSION, trial_id):
        raise Damaged(f"it is of {manifest.trial_id}, schema version {manifest.schema_version}")
    if manifest.world_size != world_size:
        raise Damaged(f"it is of {plural(manifest.world_size, 'process')}, not {world_size}")
    if manifest.model_code and model_code and manifest.model_code != model_code:
        raise Damaged("the source of its model has changed since")
    return manifest


def write_state(path: Path, state: dict[str, Any]) -> str:
    """Write a file, sync it to the disk, and read it back; its SHA-256.  Raises OSError."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with open(path, "wb") as file:
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
    if digest != file_sha256(path):
        raise OSError(f"{path.name} does not read as it was written")
    return digest


def read_state(path: Path, manifest: Manifest) -> dict[str, Any]:
    """Raises Damaged where the file is not the one that was written, OSError where it cannot be read now."""
    contents = _bytes(path)
    if hashlib.sha256(contents).hexdigest() != manifest.files.get(path.name):
        raise Damaged(f"{path.name} is damaged")
    try:
        return _unpickled(contents)
    except (RuntimeError, UnpicklingError) as error:
        raise Damaged(f"{path.name} cannot be read with {made_with()}: {error}") from None


def _unpickled(contents: bytes) -> dict[str, Any]:
    """Tensors and plain data, and the few classes of DeepSpeed's that its optimizers' states hold; no code is run."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    with torch.serialization.safe_globals([DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]):
        return torch.load(io.BytesIO(contents), map_location="cpu", weights_only=True)


def _bytes(path: Path) -> bytes:
    """Raises Damaged where there is no such file, OSError where a disk or server does not give it now."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise Damaged(f"{path.name}: {error.strerror}") from None
