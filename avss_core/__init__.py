"""Score, prune and mend the layers of transformer language models.

What most programs need is at hand here, such as `from avss_core import load_model, score_layers`;
`docs/library.md` shows it at work. `__init__.pyi` lists these names; the rest is in the modules. None
of them prints, and nothing is kept between calls.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
