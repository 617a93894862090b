"""The models, one family a module: `models/splitmixer.py` is `mixbench.zoo.splitmixer`."""

from mixbench.content import content

__path__ = [str(content("models"))]
