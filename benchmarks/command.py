"""The command line: choose cases, run them, keep what is done, print the targets."""

import fnmatch
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import machine, results
from benchmarks.case import Case
from benchmarks.curves import draw_all
from benchmarks.report import markdown, milliseconds, target_rows
from benchmarks.runner import Budget, Settings, run_case
from benchmarks.suite import OURS, suite
from benchmarks.targets import outcomes
from benchmarks.worker import set_environment

app = typer.Typer(add_completion=False, rich_markup_mode=None)
RESULTS = Path("benchmarks/results")
QUICK_ROUNDS = 2


@app.command()
def main(
    only: Annotated[str, typer.Option(help="Cases whose name matches this pattern, such as 'growth-*'.")] = "*",
    quick: Annotated[bool, typer.Option("--quick", help="Everything, but tiny and in two rounds: a test.")] = False,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch; all cores if not given.")] = machine.cores(),
    budget: Annotated[float, typer.Option(min=0.1, help="Minutes for all cases together.")] = 26.0,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the results of this commit, run the rest.")] = False,
    render: Annotated[bool, typer.Option("--render", help="Only write report and curves from the results.")] = False,
    list_cases: Annotated[bool, typer.Option("--list", help="Only print the names of the cases.")] = False,
) -> None:
    """Check and time sepgconv beside its peers; results as JSON, a report (README.md) and curves (PNG)."""
    console = Console()
    cases = [case for case in suite(quick=quick) if fnmatch.fnmatch(case.name, only)]
    if not cases:
        raise typer.BadParameter(f"no case matches {only!r}; --list prints the names", param_hint="--only")
    if list_cases:
        console.print("\n".join(case.name for case in cases))
        return
    if render:
        write_report(out, console)
        return
    set_environment(threads)
    settings = Settings(threads, most=QUICK_ROUNDS) if quick else Settings(threads)
    # The folder is left out: it says nothing about the numbers, and may be a private place.
    chosen = [f"--only {shlex.quote(only)}"] * (only != "*") + ["--quick"] * quick
    command = " ".join(["python -m benchmarks", *chosen, f"--threads {threads} --budget {budget:g}"])
    here = machine.environment(threads=threads, quick=quick, seed=settings.seed, command=command)
    planned = sum(case.seconds for case in cases)
    if resume:
        done = finished(out, here)
        cases = [case for case in cases if case.name not in done]
        console.print(f"{len(done)} cases are done, {len(cases)} are left.")
    elif only == "*":
        remove_old(out)
    share = sum(case.seconds for case in cases) / planned  # of the budget, for those that are left
    refused = run_all(cases, settings, here, 60 * budget * share, out, console)
    write_report(out, console)
    if refused:
        console.print(f"No numbers for {', '.join(refused)}: see above.", style="bold red")
        raise typer.Exit(1)


def finished(folder: Path, here: dict[str, Any]) -> set[str]:
    """Return the cases of a folder that have numbers from this commit on this machine.

    None while the package has uncommitted changes: "+dirty" does not say which.
    """
    if str(here["commit"]).endswith("+dirty"):
        return set()
    return {
        name
        for name, result in results.load_all(folder).items()
        if result.refused is None and all(result.environment.get(key) == here[key] for key in machine.SAME)
    }


def remove_old(folder: Path) -> None:
    """Remove the results of an earlier run, so that none of its cases stands beside the new ones."""
    for path in (*folder.glob("*.json"), *folder.glob("growth-*.png")):
        path.unlink()


def run_all(
    cases: Sequence[Case], settings: Settings, here: dict[str, Any], seconds: float, out: Path, console: Console
) -> list[str]:
    """Run cases one after the other, saving each; return those that were refused or found no time."""
    left_out: list[str] = []
    time = Budget(seconds, cases)
    for number, case in enumerate(cases, 1):
        if time.spent():
            console.print(f"{case.name}: not run, the budget is spent; --resume runs it.", style="bold red")
            left_out.append(case.name)
            continue
        result = run_case(case, settings, here, time.take(case))
        results.save(out, result)
        console.print(f"[{number}/{len(cases)}] {case.name}  {result.seconds:.0f} s", style="bold", markup=False)
        if result.refused is not None:
            console.print(f"  REFUSED: {result.refused}", style="red", markup=False)
            left_out.append(case.name)
        for task, by_label in result.tasks.items():
            if OURS in by_label:
                console.print(f"  {task}: {milliseconds(by_label[OURS])}", markup=False, highlight=False)
    return left_out


def write_report(folder: Path, console: Console) -> None:
    """Write report and curves from the results of a folder, and print the targets."""
    found = results.load_all(folder)
    if not found:
        raise typer.BadParameter(f"{folder} has no results; run the benchmark first", param_hint="--out")
    pictures = draw_all(found, folder)
    results.write_whole(folder / "README.md", markdown(found, pictures))
    table = Table("case", "at least", "aim", "measured", "met", title="What it must reach")
    for row in target_rows(outcomes(found)):
        table.add_row(*(cell.replace("**", "") for cell in row))
    console.print(table)
    console.print(f"Report: {folder / 'README.md'}", highlight=False)
