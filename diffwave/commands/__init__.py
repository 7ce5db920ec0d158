"""What each command of the command line does: a module of its name, `run(options) -> exit status`.

`diffwave.arguments` declares their arguments, so that a wrong one need not wait for PyTorch.
"""
