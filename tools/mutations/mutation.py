"""What a mutation is: one fault, found by the text of the code that it changes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Site:
    """A piece of code and what a mutation puts in its place.

    Attributes:
        code: the text that is searched for in all source files.
        broken: the text that replaces it.
    """

    code: str
    broken: str


@dataclass(frozen=True, slots=True)
class Mutation:
    """One fault. The place is found by its text, so that code may move between files.

    Attributes:
        name: how the mutation is asked for.
        fault: the kind of fault, in a few words.
        sites: the same place as it is written in different versions of the code; one of them must match, once.
        tests: files and folders of tests that are likely to catch the fault, which run first; one of them must exist.
    """

    name: str
    fault: str
    sites: tuple[Site, ...]
    tests: tuple[str, ...]


def mutation(name: str, fault: str, code: str, broken: str, *tests: str, also: Site | None = None) -> Mutation:
    """Return a mutation of one place; `also` is the same place as other versions of the code write it."""
    sites = (Site(code, broken), *([] if also is None else [also]))
    return Mutation(name, fault, sites, tuple(f"tests/{test}" for test in tests))
