"""Run one stage in the repository: `python -m flows STAGE`, as each stage of dvc.yaml does."""

import sys

from flows import ROOT
from flows.errors import readable_errors
from flows.params import load_params

if __name__ == "__main__":
    with readable_errors():
        from flows.pipeline import STAGES

        if len(sys.argv) != 2 or sys.argv[1] not in STAGES:
            raise ValueError(f"usage: python -m flows STAGE, with STAGE one of {', '.join(STAGES)}")
        parameters = load_params(ROOT / "params.yaml")
        STAGES[sys.argv[1]](parameters, ROOT)
