"""Compare our figures with published ones: counted as the source counts, rounded as it prints, and why they differ.

Pure: counts are computed from the stored layers, without torch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

from mixbench.results.published import Convention, PublishedFigure
from mixbench.results.statistics import Interval, supported
from mixbench.run.parts import Complexity, Layer

TOP1_TOLERANCE = 0.5
"""Percentage points, unless our interval is wider: two standard errors of 94 % on 10,000 test images are 0.47."""
WITHOUT_CLASSIFIER = "without the classifier"
"""Note in published.csv: the source's parameter count leaves out the classifier."""
_UNIT = {"million": 10**6, "giga": 10**9, "percent": 1}


@dataclass(frozen=True)
class Agreement:
    """One published figure and ours: parameters and MACs as exact counts in the source's convention, top1 in percent.

    `difference` is ours - published.  `agrees`: counts, rounded, equal the printed digits; top1 is within `tolerance`.
    None if there is nothing to compare, and `why` says what is missing; if figures disagree, `why` is the reason, if
    known.  `comparable`: the source gives an exact figure of something we measure, even if ours is still missing.
    `half_width`: of the 95 % interval of our top1.
    """

    figure: PublishedFigure
    ours: float | None
    agrees: bool | None
    why: str = ""
    tolerance: float | None = None
    comparable: bool = True
    half_width: float | None = None

    @property
    def published(self) -> float:
        """The published figure, as a count or in percent."""
        return float(Decimal(self.figure.printed) * _UNIT[self.figure.unit])

    @property
    def difference(self) -> float | None:
        return None if self.ours is None else self.ours - self.published

    @property
    def ours_as_printed(self) -> str:
        """Our figure in the source's unit and with its number of decimals, or fewer if our interval is too wide."""
        if self.ours is None:
            return ""
        rounded = _rounded(self.ours, self.figure)
        if self.half_width is None:
            return str(rounded)
        return supported(self.ours, self.half_width, -int(rounded.as_tuple().exponent))


def agreement(
    figure: PublishedFigure, counts: Complexity | None, top1: Interval, not_comparable: str = ""
) -> Agreement:
    """Compare a published figure with ours.

    `counts` are those of the figure's model; `not_comparable` says why our top-1 can't be compared, empty if it can.
    """
    if figure.figure == "top1":
        return _accuracy(figure, top1, not_comparable)
    if counts is None:
        return Agreement(figure, None, None, "not counted")
    ours = params_of(counts, figure) if figure.figure == "params" else in_convention(counts.layers, figure.convention)
    if ours is None:
        return Agreement(figure, None, None, f"the convention {figure.convention!r} cannot be recomputed")
    if figure.qualifier:
        return Agreement(figure, ours, None, _qualified(figure), comparable=False)
    agrees = _rounded(ours, figure) == Decimal(figure.printed)
    return Agreement(figure, ours, agrees, "" if agrees else figure.note or _rounding_error(ours, figure))


def params_of(counts: Complexity, figure: PublishedFigure) -> int:
    """Our parameter count, without the classifier if the source leaves it out."""
    if figure.note != WITHOUT_CLASSIFIER:
        return counts.params
    classifiers = [layer.params for layer in counts.layers if layer.output_shape == [figure.num_classes]]
    return counts.params - sum(classifiers)


def in_convention(layers: list[Layer], convention: Convention | str) -> int | None:
    """Operations of these layers by the source's convention; None if we don't know how it counts."""
    if convention not in CONVENTIONS:
        return None
    return sum(CONVENTIONS[convention](layer) for layer in layers)


def _splitmixer(layer: Layer) -> int:
    """The SplitMixer authors' "FLOPS": MACs, biases, activations, BatchNorm and the inputs of the pool.

    They add 1 per output element of every convolution and channel mixer (of all channels, mixed or passed on), and 1
    per element of the activation after it, which has as many elements: thus 2 per activation element here.
    (Variant V, which has two mixers in a row, has no published figure.)
    """
    return layer.macs + _elements(layer, activation=2)


def _without_depthwise(layer: Layer) -> int:
    """The ConvMixer authors' GMACs, by ptflops of that time: no depthwise convolution; biases, ReLU, BatchNorm, pool.

    GELU is not counted.
    """
    if layer.type.startswith("Conv"):
        outputs = math.prod(layer.output_shape)
        depthwise = layer.macs < outputs * layer.input_shape[0]  # fewer products per output than input channels
        return 0 if depthwise else layer.macs + outputs
    return layer.macs + _elements(layer, activation=int(layer.type == "ReLU"))


def _elements(layer: Layer, activation: int) -> int:
    """Operations counted per element: activations, BatchNorm, pool and the bias of a linear layer."""
    if layer.type in ("GELU", "ReLU"):
        return activation * math.prod(layer.output_shape)
    if layer.type.startswith("BatchNorm"):
        return 2 * math.prod(layer.output_shape)
    if layer.type == "AdaptiveAvgPool2d":
        return math.prod(layer.input_shape)
    return math.prod(layer.output_shape) if layer.type == "Linear" else 0  # its bias


CONVENTIONS: dict[str, Callable[[Layer], int]] = {
    "macs": lambda layer: layer.macs,
    "splitmixer": _splitmixer,
    "macs_no_depthwise": _without_depthwise,
    "macs_no_fft": lambda layer: layer.macs,  # ours: Fourier transforms are named beside it
}


def _accuracy(figure: PublishedFigure, top1: Interval, not_comparable: str) -> Agreement:
    if not_comparable:
        return Agreement(figure, None, None, not_comparable, comparable=False)
    if figure.qualifier:
        why = _qualified(figure)
        return Agreement(figure, top1.mean, None, why, comparable=False, half_width=top1.half_width)
    if top1.mean is None:
        return Agreement(figure, None, None, "not measured")
    tolerance = max(TOP1_TOLERANCE, top1.half_width or 0.0)
    agrees = abs(top1.mean - figure.value) <= tolerance
    return Agreement(figure, top1.mean, agrees, tolerance=tolerance, half_width=top1.half_width)


def _qualified(figure: PublishedFigure) -> str:
    return f"the source says {figure.qualifier.replace('_', ' ')} {figure.printed}"


def _rounded(ours: float, figure: PublishedFigure, rounding: str = ROUND_HALF_UP) -> Decimal:
    return (Decimal(ours) / _UNIT[figure.unit]).quantize(Decimal(figure.printed), rounding)


def _rounding_error(ours: float, figure: PublishedFigure) -> str:
    """The difference explained by the source's rounding of the last digit, empty if that does not explain it."""
    printed = Decimal(figure.printed)
    if _rounded(ours, figure, ROUND_DOWN) == printed:
        return "the source cuts digits off where others round"
    last = Decimal(1).scaleb(int(printed.as_tuple().exponent))
    return "the source is one off in its last digit" if abs(_rounded(ours, figure) - printed) == last else ""
