"""timm's published weights of the zoo's models: their names and preprocessing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mixbench.errors import RequestError

TIMM = {
    "convmixer_1536_20": "convmixer_1536_20.in1k",
    "convmixer_768_32": "convmixer_768_32.in1k",
    "convmixer_1024_20_ks9_p14": "convmixer_1024_20_ks9_p14.in1k",
    "mixer_b16": "mixer_b16_224.goog_in21k_ft_in1k",
    "mixer_l16": "mixer_l16_224.goog_in21k_ft_in1k",
    "resmlp_s12": "resmlp_12_224.fb_in1k",
    "resmlp_s24": "resmlp_24_224.fb_in1k",
    "resmlp_s36": "resmlp_36_224.fb_in1k",
    "resmlp_b24_p8": "resmlp_big_24_224.fb_in1k",
}
"""Our model name → timm's, with the tag of the weights."""


@dataclass(frozen=True)
class Pretrained:
    """A file of weights, and the image preprocessing that they were trained with."""

    file: Path
    mean: tuple[float, ...]
    std: tuple[float, ...]
    test_crop: float
    resampling: Literal["bilinear", "bicubic"]


def find_pretrained(name: str) -> Pretrained:
    """Find timm's weights of a model in Hugging Face's cache on this machine; downloads nothing.

    Raises RequestError if timm is not installed, has no weights of this model, or they are not in the cache.
    """
    try:
        from huggingface_hub import try_to_load_from_cache
        from timm.models import get_pretrained_cfg
    except ImportError:
        raise RequestError("timm is not installed: pip install 'mixbench[timm]'") from None
    if name not in TIMM:
        raise RequestError(f"timm has no weights of {name}; it has those of {', '.join(TIMM)}")
    config = get_pretrained_cfg(TIMM[name])
    file = try_to_load_from_cache(config.hf_hub_id, "model.safetensors")
    if not isinstance(file, str):
        fetch = f"hf download {config.hf_hub_id} model.safetensors"
        raise RequestError(f"timm's weights of {name} are not on this machine; on one with internet: {fetch}")
    return Pretrained(Path(file), config.mean, config.std, config.crop_pct, config.interpolation)


def pretraining(model: str, file: str) -> Literal["none", "in21k"] | None:
    """The dataset that a weights file was pretrained on before ImageNet-1k.

    "none" without a file; None (unknown) if the file is not timm's in Hugging Face's cache.
    """
    if not file:
        return "none"
    if f"models--timm--{TIMM.get(model)}" not in Path(file).parts:
        return None
    return "in21k" if "in21k" in TIMM[model] else "none"
