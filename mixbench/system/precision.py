"""Whether a GPU rounds the products of float32 values to TF32: said for matrix products and convolutions by name.

In torch 2.11 convolutions are rounded by default, and do not follow torch's general setting.
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
