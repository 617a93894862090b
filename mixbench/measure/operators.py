"""The operators of a model: which multiply, and how often; which are known to be cheap; which can only be named."""

from collections.abc import Callable
from math import log2, prod
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
Shape = tuple[int, ...]

CHEAP_NAMES = """
empty empty_like empty_permuted empty_strided new_empty new_empty_strided new_full new_ones new_zeros full full_like
ones ones_like zeros zeros_like zero fill arange linspace logspace eye scalar_tensor tril_indices triu_indices
rand rand_like randn randn_like randint randint_like randperm normal uniform bernoulli exponential complex polar

to_copy copy lift_fresh_copy unsafe_view unsafe_split unsafe_split_with_sizes unsafe_chunk set resize resize_as
reshape_copy view_copy expand_copy permute_copy transpose_copy unsqueeze_copy squeeze_copy split_with_sizes_copy
cat stack flip roll rot90 repeat repeat_interleave tril triu diag diag_embed diagonal_copy block_diag im2col col2im
index index_select index_put index_add index_copy index_fill index_reduce unsafe_index unsafe_index_put
unsafe_masked_index gather scatter scatter_add scatter_reduce select_scatter slice_scatter diagonal_scatter
as_strided_scatter masked_fill masked_scatter masked_select take embedding one_hot constant_pad_nd unfold_copy
reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d
pixel_shuffle pixel_unshuffle channel_shuffle

sum nansum mean prod var std var_mean std_mean amax amin aminmax max min argmax argmin all any norm
linalg_vector_norm logsumexp cumsum cumprod cummax cummin logcumsumexp median nanmedian mode kthvalue topk sort
count_nonzero trace softmax log_softmax safe_softmax masked_softmax bucketize searchsorted isin histc bincount

native_batch_norm native_batch_norm_legit native_batch_norm_legit_functional native_batch_norm_legit_no_training
batch_norm_with_update batch_norm_with_update_functional batch_norm_no_update cudnn_batch_norm miopen_batch_norm
native_layer_norm native_group_norm fused_rms_norm weight_norm_interface renorm

avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d
max_pool2d_with_indices max_pool3d_with_indices fractional_max_pool2d fractional_max_pool3d max_unpool2d max_unpool3d
upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_nearest_exact1d upsample_nearest_exact2d
upsample_nearest_exact3d upsample_linear1d upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d
upsample_bilinear2d_aa upsample_bicubic2d_aa grid_sampler_2d grid_sampler_3d

glu prelu_kernel rrelu_with_noise hardswish log_sigmoid_forward dropout native_dropout alpha_dropout linalg_cross
assert_async assert_scalar assert_tensor_metadata linalg_check_errors
"""
"""Names of aten's operators, without underscores at their ends, that make, move, reduce, normalise or resize values:
no convolution or matrix product, but at most some operations for each value.  Elementwise ones and views are told by
torch's own marks."""
CHEAP = set(CHEAP_NAMES.split())


def _matrix_product(*shapes: Shape, out_shape: Shape, **_: Any) -> int:
    """FLOPs of `input + A @ B` for batches of matrices, or of `A @ b`: each element of A times the columns of B."""
    left, right = shapes[-2:]
    return 2 * prod(left) * (right[-1] if len(right) > 1 else 1)


def _outer_product(_: Shape, left: Shape, right: Shape, *, out_shape: Shape, **__: Any) -> int:
    return 2 * prod(left) * prod(right)


def _convolution_over_time(images: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    """FLOPs of conv_tbc: images T B C, weight K C D, out T B D."""
    return 2 * prod(out_shape) * weight[0] * weight[1]


def _trilinear(*operands: Any, out_shape: Shape, **_: Any) -> int:
    """FLOPs of nn.Bilinear's Σ x_i W_kij y_j, as einsum's two products: x W first, then its product with y."""
    *shapes, expand1, expand2, expand3, summed = operands[:7]
    rank = len(shapes[0]) + len(expand1)
    sizes = [1] * rank
    for shape, expand in zip(shapes, (expand1, expand2, expand3), strict=True):
        kept = iter(shape)
        sizes = [size if axis in expand else max(size, next(kept)) for axis, size in enumerate(sizes)]
    first = set(summed) & set(expand3)  # what the first product sums over
    return 2 * (prod(sizes) + prod(size for axis, size in enumerate(sizes) if axis not in first))


FORMULAS: dict[Any, Callable[..., int]] = {
    aten.mv: _matrix_product,
    aten.dot: _matrix_product,
    aten.vdot: _matrix_product,
    aten.addmv: _matrix_product,
    aten.addmv_: _matrix_product,
    aten.addmm_: _matrix_product,
    aten._addmm_activation: _matrix_product,
    aten.baddbmm_: _matrix_product,
    aten.addbmm: _matrix_product,
    aten.addbmm_: _matrix_product,
    aten.addr: _outer_product,
    aten.addr_: _outer_product,
    aten.conv_tbc: _convolution_over_time,
    aten._trilinear: _trilinear,
}
"""FLOPs, two for a multiply-accumulate, of operators that torch's FlopCounterMode counts as nothing."""


FFTS = {aten._fft_r2c: 2.5, aten._fft_c2r: 2.5, aten._fft_c2c: 5.0}
"""FLOPs of a Fourier transform of N points, over N log₂ N: of real values, back to real values, of complex ones.

It is the convention of FFTW's benchmarks (fftw.org/speed), whatever algorithm runs.
"""


class Operators(TorchDispatchMode):
    """Counts output elements of the operators that are counted; collects the names of those that are not, yet may
    multiply: all that are not known to be cheap.  Fourier transforms are among these, `fft_flops` is their cost."""

    def __init__(self) -> None:
        super().__init__()
        self.activations = 0
        self.fft_flops = 0
        self.uncounted: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        operator = getattr(func, "_overloadpacket", func)  # a higher-order operator has no overloads
        if operator in flop_registry or operator in FORMULAS:
            self.activations += (out[0] if isinstance(out, tuple) else out).numel()
        elif not _cheap(func, operator):
            self.uncounted.add(str(operator))
        if operator in FFTS:
            values, axes = (out if operator is aten._fft_c2r else args[0]), args[1]
            points = prod(values.shape[axis] for axis in axes)
            self.fft_flops += round(FFTS[operator] * values.numel() * log2(points))
        return out


def _cheap(func: Any, operator: Any) -> bool:
    if getattr(func, "namespace", "") == "prim":  # asks for a property of a tensor
        return True
    if getattr(func, "namespace", "") != "aten":
        return False
    return func.is_view or torch.Tag.pointwise in func.tags or operator.__name__.strip("_") in CHEAP
