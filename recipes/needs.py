"""Whether the stages of a recipe can import what they need, so that none fails after hours.

python needs.py FIRST_STAGE LAST_STAGE METRICS
"""

import importlib
import sys

from diffwave.base.errors import InputError, run_script

MODULES = {1: "diffwave.data.prepare", 2: "diffwave.train.loop", 3: "diffwave.commands.evaluate"}


def main() -> None:
    """Import it; raises InputError when something is missing, warns of single metrics."""
    first, last = map(int, sys.argv[1:3])
    for stage, module in MODULES.items():
        if first <= stage <= last:
            try:
                importlib.import_module(module)
            except (ImportError, OSError) as error:  # OSError: a library that does not load
                raise InputError(f"Stage {stage} cannot run: {error}; {INSTALL}.") from None
    if first <= 3 <= last:
        from diffwave.eval.metrics import choose_metrics

        found, missing = choose_metrics([name for name in sys.argv[3].split(",") if name])
        if not found:
            raise InputError(f"Stage 3 has no metric to score with; {INSTALL}.")
        for name, reason in missing.items():
            print(f"needs.py: stage 3 leaves out {name}: {reason}; {INSTALL}", file=sys.stderr)


INSTALL = "pip install -e '.[train,eval]' in the project's folder"
if __name__ == "__main__":
    run_script(main)
