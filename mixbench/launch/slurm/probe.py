"""What a node of the cluster is like: `python -m mixbench.launch.slurm.probe`, which srun starts for `mixbench doctor`.

One rank alone looks at its node; two or more only meet.  Each leaves its checks in the folder that it is started in.
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

from mixbench.data.locations import lack
from mixbench.errors import RequestError
from mixbench.launch.checks import Check, attempt, installation, training_step
from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.rank import address, keep_caches
from mixbench.suite.datasets import Dataset
from mixbench.system.files import write_atomically
from mixbench.system.words import decimal_size

if TYPE_CHECKING:
    from submitit import JobEnvironment


class Asked(BaseModel):
    """What the doctor gives a probe, in asked.json: what is installed on the login node, what data are to be there."""

    profile: Profile
    installed: tuple[Check, ...]
    datasets: tuple[Dataset, ...] = ()


def answer(folder: Path, rank: int) -> list[Check]:
    """What a rank found.  Raises FileNotFoundError where it left nothing."""
    os.scandir(folder).close()  # NFS remembers for a while that a file was not there, but not a folder's list
    return TypeAdapter(list[Check]).validate_json((folder / f"found-{rank}.json").read_bytes())


def main() -> None:
    import submitit

    place, folder = submitit.JobEnvironment(), Path(os.environ["MIXBENCH_FOLDER"])
    asked = Asked.model_validate_json((folder / "asked.json").read_bytes())
    caches = keep_caches(asked.profile)
    looks = _meeting(asked, place) if place.num_tasks > 1 else _node(asked, caches, folder)
    found: list[Check] = []
    for check in looks:  # each is kept at once: the next one may hang, or end this process
        found.append(check)
        write_atomically(folder / f"found-{place.global_rank}.json", json.dumps([asdict(each) for each in found]))
    shutil.rmtree(caches, ignore_errors=True)
    sys.stdout.flush()
    os._exit(0)  # at once: gloo and NCCL would wait for ranks that are gone


def _node(asked: Asked, caches: Path, folder: Path) -> Iterator[Check]:
    yield Check("run folder there", True, "seen and writable")
    python, *packages = zip(installation(), asked.installed, strict=True)
    yield Check("Python there", python[0] == python[1], f"{python[0].found}, {sys.executable}")
    odd = [f"{there.check} {there.found}, here {here.found}" for there, here in packages if there != here]
    yield Check("packages there", not odd, "; ".join(odd) or "the same versions as here")
    yield attempt("GPU there", lambda: _gpus(asked.profile))
    yield attempt("scratch there", lambda: _scratch(caches))
    if asked.datasets:
        gone = [line for dataset in asked.datasets if (line := lack(dataset))]
        yield Check("data there", not gone, "; ".join(gone) or ", ".join(each.name for each in asked.datasets))
    yield attempt("DeepSpeed there", _deepspeed)


def _gpus(profile: Profile) -> str:
    """Raises RequestError where none of those asked for can be used."""
    import torch

    seen, given = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES", "unset")
    if not profile.gpus_per_node:
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
    """Raises RequestError where something had to be compiled: each job would do so anew."""
    from mixbench.train.distributed import connect

    extensions = Path(os.environ["TORCH_EXTENSIONS_DIR"])
    before, begin = _names(extensions), time.monotonic()
    done = training_step(connect(Path("meeting.json")))
    seconds = time.monotonic() - begin
    if built := _names(extensions) - before:
        raise RequestError(
            f"{', '.join(sorted(built))} had to be compiled ({seconds:.0f} s), as each job would: name a folder that "
            "all nodes see as TORCH_EXTENSIONS_DIR in the profile's `environment`"
        )
    return f"{done}; nothing had to be compiled"


def _names(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.rglob("*.so")}


def _meeting(asked: Asked, place: "JobEnvironment") -> Iterator[Check]:
    yield attempt("rendezvous", lambda: _meet(asked, place))


def _meet(asked: Asked, place: "JobEnvironment") -> str:
    import torch

    from mixbench.train.distributed import connect

    own, begin = address(asked.profile), time.monotonic()
    world = connect(Path("meeting.json"), place.global_rank, place.num_tasks, 0, 1, address=own)
    hosts = world.gather(place.hostname + f" at {own}" * (own != place.hostname))
    total = world.sum(torch.ones(1, device=world.device)).item()
    if total != world.size or len(set(hosts)) != world.size:
        raise RequestError(f"{world.size} ranks met as {', '.join(hosts)}, and their sum is {total}")
    return f"{' and '.join(hosts)}, {torch.distributed.get_backend()}, {time.monotonic() - begin:.1f} s"


if __name__ == "__main__":
    main()
