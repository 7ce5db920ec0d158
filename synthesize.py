#!/usr/bin/env python3
"""synthesize.py mel.npy out.wav: the same as `diffwave synthesize`."""

from diffwave.cli import synthesize_main

if __name__ == "__main__":
    synthesize_main()
