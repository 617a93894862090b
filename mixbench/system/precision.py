"""Sets if a GPU rounds float32 inputs of matrix products and convolutions to TF32.

Both are set by name: in torch 2.11 convolutions use TF32 by default, and do not follow torch's general setting.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

Products = Literal["ieee", "tf32"]


def set_products(kind: Products) -> None:
    """`ieee`: products in full float32."""
    for operators in _operators():
        operators.fp32_precision = kind


@contextmanager
def products(kind: Products) -> Iterator[None]:
    before = [operators.fp32_precision for operators in _operators()]
    set_products(kind)
    try:
        yield
    finally:
        for operators, kept in zip(_operators(), before, strict=True):
            operators.fp32_precision = kept


def _operators() -> tuple[Any, Any]:
    return torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]
