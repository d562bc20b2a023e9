"""`python -m zoo.worker NAME SEED FOLDER`: builds one model and stores it (what zoo.cache starts)."""

from __future__ import annotations

import sys
from pathlib import Path

from zoo import cache, keras_models, pretrained


def main(name: str, seed: str, folder: str) -> None:
    """Builds the model `name` and stores it in `folder`."""
    known = pretrained.BUILDERS.get(name)
    model = known() if known else keras_models.build_here(name, int(seed))
    cache.store(model, Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
