"""Checks that run on a node, for `mixbench doctor`: srun starts `python -m mixbench.launch.slurm.probe`.

A single rank checks its node; several ranks check that they can meet.  Each writes its checks to the job's folder.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, TypeAdapter

from mixbench.data.locations import why_missing
from mixbench.errors import RequestError
from mixbench.launch.checks import Check, installation, run_check, training_step
from mixbench.launch.job import JobFolder
from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.rank import address, keep_caches
from mixbench.suite.datasets import Dataset
from mixbench.system.files import write_atomically
from mixbench.system.words import decimal_size

if TYPE_CHECKING:
    from submitit import JobEnvironment


class ProbeRequest(BaseModel):
    """The doctor's request to a probe, in asked.json: what is installed on the login node, which data are needed."""

    profile: Profile
    installed: tuple[Check, ...]
    datasets: tuple[Dataset, ...] = ()


def request_file(folder: Path) -> Path:
    return folder / "asked.json"


def read_checks(folder: Path, rank: int) -> list[Check]:
    """The checks that a rank wrote.  Raises FileNotFoundError where there are none."""
    os.scandir(folder).close()  # NFS remembers for a while that a file was not there, but not a folder's list
    return TypeAdapter(list[Check]).validate_json(_checks_file(folder, rank).read_bytes())


def _checks_file(folder: Path, rank: int) -> Path:
    return folder / f"found-{rank}.json"


def main() -> None:
    import submitit

    place, folder = submitit.JobEnvironment(), Path(os.environ["MIXBENCH_FOLDER"])
    request = ProbeRequest.model_validate_json(request_file(folder).read_bytes())
    caches = keep_caches(request.profile)
    looks = _meeting(request, place) if place.num_tasks > 1 else _node(request, caches, folder)
    found: list[Check] = []
    for check in looks:  # each is kept at once: the next one may hang, or end this process
        found.append(check)
        write_atomically(_checks_file(folder, place.global_rank), json.dumps([asdict(each) for each in found]))
    shutil.rmtree(caches, ignore_errors=True)
    sys.stdout.flush()
    os._exit(0)  # at once: gloo and NCCL would wait for ranks that are gone


def _node(request: ProbeRequest, caches: Path, folder: Path) -> Iterator[Check]:
    yield Check("run folder there", True, "seen and writable")
    python, *packages = zip(installation(), request.installed, strict=True)
    yield Check("Python there", python[0] == python[1], f"{python[0].found}, {sys.executable}")
    odd = [f"{there.check} {there.found}, here {here.found}" for there, here in packages if there != here]
    yield Check("packages there", not odd, "; ".join(odd) or "the same versions as here")
    yield run_check("GPU there", lambda: _gpus(request.profile))
    yield run_check("scratch there", lambda: _scratch(caches))
    if request.datasets:
        gone = [line for dataset in request.datasets if (line := why_missing(dataset))]
        yield Check("data there", not gone, "; ".join(gone) or ", ".join(each.name for each in request.datasets))
    yield run_check("DeepSpeed there", _deepspeed)


def _gpus(profile: Profile) -> str:
    """Raises RequestError where the GPUs that the job asked for cannot be used."""
    import torch

    seen, given = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES", "unset")
    if not profile.gpu_count:
        return f"none is asked for; torch sees {seen}" + " (gpus_per_node would use them)" * bool(seen)
    if not seen:
        raise RequestError(f"1 was asked for, and torch sees none (CUDA_VISIBLE_DEVICES: {given})")
    torch.ones(2, device="cuda").sum().item()
    return f"{torch.cuda.get_device_name()} (CUDA_VISIBLE_DEVICES: {given})"


def _scratch(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "written").write_text("here", encoding="utf-8")
    return f"{folder.parent}: {decimal_size(shutil.disk_usage(folder).free)} free"


def _deepspeed() -> str:
    """Raises RequestError where something had to be compiled, as every job would compile it again."""

    extensions = Path(os.environ["TORCH_EXTENSIONS_DIR"])
    before, begin = _names(extensions), time.monotonic()
    done = training_step(JobFolder(Path()).meeting_file)
    seconds = time.monotonic() - begin
    if built := _names(extensions) - before:
        raise RequestError(
            f"{', '.join(sorted(built))} had to be compiled ({seconds:.0f} s), as each job would: name a folder that "
            "all nodes see as TORCH_EXTENSIONS_DIR in the profile's `environment`"
        )
    return f"{done}; nothing had to be compiled"


def _names(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.rglob("*.so")}


def _meeting(request: ProbeRequest, place: "JobEnvironment") -> Iterator[Check]:
    yield run_check("rendezvous", lambda: _meet(request, place))


def _meet(request: ProbeRequest, place: "JobEnvironment") -> str:
    import torch

    from mixbench.train.distributed import connect

    own, begin = address(request.profile), time.monotonic()
    world = connect(JobFolder(Path()).meeting_file, place.global_rank, place.num_tasks, 0, 1, address=own)
    hosts = world.gather(place.hostname + f" at {own}" * (own != place.hostname))
    total = world.sum(torch.ones(1, device=world.device)).item()
    if total != world.size or len(set(hosts)) != world.size:
        raise RequestError(f"{world.size} ranks met as {', '.join(hosts)}, and their sum is {total}")
    return f"{' and '.join(hosts)}, {torch.distributed.get_backend()}, {time.monotonic() - begin:.1f} s"


if __name__ == "__main__":
    main()
