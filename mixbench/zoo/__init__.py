"""The models, one module per family: `models/splitmixer.py` is imported as `mixbench.zoo.splitmixer`."""

from mixbench.system.content import content

__path__ = [*__path__, str(content("models"))]
