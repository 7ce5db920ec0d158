"""DiffWave checkpoints of other projects.

Three layouts of the network are known; what differs in the network itself is described in
:mod:`diffwave.networks.variants`. Nothing in a file is executed.

The samplers of lmnt-com/diffwave and SpeechBrain also clip the state to -1 .. 1 after every step,
which the paper does not; ours follows the paper.
"""

from diffwave.importers.configuration import About
from diffwave.importers.convert import import_checkpoint
from diffwave.importers.layouts import PROJECTS

__all__ = ["PROJECTS", "About", "import_checkpoint"]
