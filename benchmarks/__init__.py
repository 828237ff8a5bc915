"""Times and memory of sepgconv beside its peers: `python -m benchmarks`, from the root of the repository.

Imports point down: command -> runner -> worker -> checks, steps, memory -> contenders; cases, series, results and their
rendering (targets, report, curves) are data in, data out, and need no torch.
"""
