"""Initialisations of weights that several families share."""

from torch import Tensor, nn

TRUNCATED_STD = 0.87962566103423978  # standard deviation of a standard normal truncated at ±2


def lecun_normal(weight: Tensor) -> None:
    """Initialise from a normal truncated at ±2 standard deviations, whose variance is one over the number of inputs."""
    std = weight[0].numel() ** -0.5 / TRUNCATED_STD
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


def truncated_linear(module: nn.Module) -> None:
    """Initialise linear layers: a truncated normal of standard deviation 0.02, zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def truncated(module: nn.Module) -> None:
    """Initialise linear layers and convolutions: a truncated normal of standard deviation 0.02, zero biases."""
    truncated_linear(module)
    if isinstance(module, nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def xavier_mlp(module: nn.Module) -> None:
    """Initialise as timm does in its Mixers: Xavier's linear layers, LeCun's convolutions, biases near zero."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.normal_(module.bias, std=1e-6)
    elif isinstance(module, nn.Conv2d):
        lecun_normal(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
