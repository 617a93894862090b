"""The models, one family a module: `models/splitmixer.py` is `mixbench.zoo.splitmixer`."""

from mixbench.system.content import content

__path__ = [*__path__, str(content("models"))]
