"""One small model of each family for images of 32 pixels."""

from typing import Any

SMALL: dict[str, dict[str, Any]] = {
    "splitmixer_i_256_8": dict(dim=16, depth=2),
    "convmixer_256_8": dict(dim=16, depth=2),
    "stridemixer_i_256_8": dict(dim=16, depth=2),
    "mixer_s4": dict(dim=16, depth=2, token_dim=16, channel_dim=32),
    "resmlp_s12": dict(dim=16, depth=2, patch_size=4),
    "gmlp_ti16": dict(dim=16, depth=2, patch_size=4, hidden_dim=64),
    "s2mlp_wide": dict(dim=16, depth=2, patch_size=4),
    "s2mlpv2_small_7": dict(dims=(16, 32), depths=(1, 2), patch_sizes=(4, 2)),
    "vip_s7": dict(dims=(16, 32, 32, 32), depths=(1, 1, 1, 1), segments=(8, 4, 4, 4), patch_size=4),
    "cyclemlp_b1": dict(dims=(16, 16, 24, 32), depths=(1, 1, 1, 1), patch_size=2),
    "hiremlp_tiny": dict(dims=(16, 16, 24, 32), depths=(2, 2, 2, 1), patch_size=2),
    "wavemlp_t": dict(dims=(16, 16, 24, 32), depths=(1, 1, 1, 1), patch_size=2),
    "smlpnet_t": dict(dim=8, depths=(1, 1, 1, 1), patch_size=2),
    "spach_mlp_ms_xxs": dict(dim=16, stages=("conv*1", "mlp*1", "attention*1", "mlp*1"), heads=2),
    "convmlp_s": dict(conv_dim=16, conv_depth=1, dims=(16, 24, 32), depths=(1, 1, 1)),
    "msmlp_t": dict(dim=20, depths=(1, 1, 1, 1)),
    "gfnet_h_ti": dict(dims=(16, 16, 24, 32), depths=(1, 1, 1, 1)),
    "asmlp_t": dict(dim=16, depths=(1, 1, 1, 1)),
    "caterpillar_mi_p1": dict(dims=(8, 16, 24, 32), depths=(1, 1, 1, 1), strides=(2, 2, 2, 2)),
    "csmixer_t": dict(dim=16, depths=(2, 1, 1, 1), heads=(2, 2, 4, 4), group_size=4),
    "dynamixer_s": dict(
        dims=(16, 24, 24, 32), depths=(1, 1, 1, 1), heads=(2, 4, 4, 4), strides=(2, 1, 1), patch_size=4
    ),
    "asymmixer_s16": dict(dim=16, depth=2, patch_size=4),
    "ninformer_256_4": dict(dim=16, depth=2, hidden_dim=32),
    "mdmlp_d64_l8": dict(dim=16, depth=2),
    "ramlp_t": dict(dims=(16, 16, 32, 32), depths=(1, 1, 1, 1)),
    "stripmlp_t_light": dict(dim=8, depths=(1, 1, 1, 1)),
    "activemlp_xt": dict(dims=(16, 16, 24, 32), depths=(2, 2, 2, 2)),
    "posmlp_t": dict(
        dims=(16, 16, 32, 32), depths=(1, 1, 1, 1), windows=(4, 4, 2, 1), maps=(4, 4, 8, 8), mlp_ratios=(4, 4, 4, 4)
    ),
    "ccsmixer_s16": dict(dim=16, depth=2, patch_size=4, groups=4),
    "hypermixer_s16": dict(dim=16, depth=2, patch_size=4, token_dim=16, heads=4),
    "kanmixer_canuto": dict(dim=16, depth=2, token_dim=8, channel_dim=24),
    "kanmixer_cheon": dict(dim=16, depth=2, base="gelu"),
    "poolformer_s12": dict(dims=(16, 16, 24, 32), depths=(1, 1, 1, 1)),
}
