"""The list of cases, and that targets and curves find what they look up."""

import pytest

from benchmarks import suite as names
from benchmarks.any_angle import SECTION
from benchmarks.contenders.kinds import KINDS
from benchmarks.curves import AXES
from benchmarks.suite import suite
from benchmarks.targets import INFER_MANY, INFER_ONE, TARGETS
from tests.covering import each

CASES = {case.name: case for case in suite()}


@pytest.mark.parametrize("quick", [False, True])
def test_names_and_labels_are_unique_and_known(quick):
    cases = suite(quick=quick)
    assert len({case.name for case in cases}) == len(cases)
    for case in cases:
        labels = [contender.label for contender in case.contenders]
        assert len(set(labels)) == len(labels)
        assert labels[0] == names.OURS
        assert {contender.kind for contender in case.contenders} <= set(KINDS)


def test_quick_keeps_every_case():
    assert [case.name for case in suite(quick=True)] == [case.name for case in suite()]


def test_the_networks_of_the_paper_are_there():
    found = {case.name for case in suite()}
    table1 = {"z2cnn-w20", "c_z2cnn-w57", "p4cnn-w10", "g_p4cnn-w10", "gc_p4cnn-w10", "g_p4cnn-w17", "gc_p4cnn-w30"}
    assert table1 | {"resnet44", "p4m_resnet44", "g_p4m_resnet44", "gc_p4m_resnet44"} <= found


@each("target", TARGETS)
def test_a_target_names_a_case_a_task_and_contenders_that_exist(target):
    case = next(case for case in suite() if case.name == target.case)
    kind = "inference" if target.task in (INFER_MANY, INFER_ONE) else target.task
    tasks = [task for task in case.tasks if task.kind == kind]
    assert tasks
    by_label = {contender.label: contender for contender in case.contenders}
    for label in (target.ours, *target.opponents):
        assert all(by_label[label].takes_part(task) for task in tasks)


def test_targets_are_those_of_issues_3_and_19():
    def bounds(targets):
        return [(t.measure, round(t.at_least, 2), t.aim and round(t.aim, 2)) for t in targets]

    any_angle = [target for target in TARGETS if CASES[target.case].section == SECTION]
    assert set(bounds(any_angle)) == {
        ("times faster", 1.2, 2),
        ("times faster", 1, 2),
        ("times faster", 1.5, 3),
        ("times the time", 1.6, 1),
        ("seconds", 0.5, 0.05),
    }
    assert bounds(target for target in TARGETS if target not in any_angle) == [
        ("times faster", 3, 5),
        ("times faster", 1.3, 2),
        ("times the time", 1.7, 1),
        ("times faster", 1.3, 2),
        ("times faster", 1.5, 2),
        ("times faster", 1.5, 2),
        ("times faster", 6, 12),
        ("times faster", 1.3, 2.5),
        ("times the input", 1, None),
        ("share of the bytes", 0.5, 0.33),
        ("times faster", 1, None),
    ]


def test_every_axis_has_a_curve():
    growth = [case for case in suite() if case.setting]
    for axis, (_, elsewhere) in AXES.items():
        base = {**names.BASE, **elsewhere}
        on_it = [c for c in growth if all(c.setting[k] == v for k, v in base.items() if k != axis)]
        assert len({case.setting[axis] for case in on_it}) >= 3, axis
