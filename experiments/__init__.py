"""The paper's tables and figures (arXiv:2106.04914): cells to run, records of them, reports made from the records.

One file for each table or figure. Running needs the extra "train", a Ray cluster the extra "cluster".
"""

from experiments.catalogue import EXPERIMENTS, find_experiment
from experiments.cells import Cell
from experiments.experiment import Experiment, Row
from experiments.render.files import render
from experiments.report import Picture, Report, Table
from experiments.runner import choose, plan, run
from experiments.store import Reading, append_record, read_records
from experiments.work import Job, Outcome, run_job

__all__ = [
    "EXPERIMENTS",
    "Cell",
    "Experiment",
    "Job",
    "Outcome",
    "Picture",
    "Reading",
    "Report",
    "Row",
    "Table",
    "append_record",
    "choose",
    "find_experiment",
    "plan",
    "read_records",
    "render",
    "run",
    "run_job",
]
