"""The paper's tables and figures (arXiv:2106.04914): cells to run, records of them, reports made from the records.

One file for each table or figure. Running needs the extra "train", a Ray cluster the extra "cluster".
"""

from sepgconv.paper.catalogue import EXPERIMENTS, find_experiment
from sepgconv.paper.cells import Cell
from sepgconv.paper.experiments import Experiment, Row
from sepgconv.paper.render.files import render
from sepgconv.paper.report import Picture, Report, Table
from sepgconv.paper.runner import choose, plan, run
from sepgconv.paper.store import Reading, append_record, read_records
from sepgconv.paper.work import Job, Outcome, run_job

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
