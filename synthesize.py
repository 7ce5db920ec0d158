#!/usr/bin/env python3
"""synthesize.py mel.npy out.wav: the same as `diffwave synthesize`."""

import sys

from diffwave.cli import main

if __name__ == "__main__":
    sys.exit(main(command="synthesize"))
