"""DiffWave checkpoints of other projects.

Three layouts of the network are known; what differs in the network itself is described in
:mod:`diffwave.networks.variants`. Nothing in a file is executed.
"""

from diffwave.importers.configuration import About
from diffwave.importers.convert import import_checkpoint
from diffwave.importers.layouts import PROJECTS

__all__ = ["PROJECTS", "About", "import_checkpoint"]
