"""What each command of the command line does: a module of its name, `run(options) -> exit status`.

`diffwave.commands.options` declares their options, so that a wrong one need not wait for PyTorch.
"""
