"""`python -m sepgconv`: the command line, where its script is not on the path."""

from sepgconv.cli import main

main()
