"""Faults of steerable kernels and of the measure of their error."""

from tools.mutations.mutation import mutation

STEERABLE = (
    mutation(
        "steerable-reflection",
        "a mirror rotates filters and does not reflect them",
        "columns.append(-turned.imag if reflects else turned.imag)",
        "columns.append(turned.imag)",
        "symmetry/test_steerable.py",
    ),
    mutation(
        "steerable-direction",
        "filters rotate the other way",
        "phase = complex(m11, m01)",
        "phase = complex(m11, -m01)",
        "symmetry/test_steerable.py",
    ),
    mutation(
        "steerable-sign",
        "the sign of a filter is what the eigenvectors of a library have",
        "return 1 if first > 0 else -1",
        "return 1",
        "symmetry/test_steerable.py",
    ),
    mutation(
        "steerable-noise",
        "filters that hardly respond hang on rounding",
        "NOISE = 1e-6",
        "NOISE = 1e-13",
        "symmetry/test_steerable.py",
    ),
    mutation(
        "filter-error-wave",
        "the error of a filter is measured at the wave before the move",
        "after = waves.responses(moved, np.array(matrix, dtype=np.float64))",
        "after = waves.responses(moved)",
        "symmetry/test_filter_error.py",
    ),
    mutation(
        "family-name",
        "a group of one's own takes the name of one of a family",
        "if (_known(name) or one) != one:",
        "if GROUPS.get(name, one) != one:",
        "symmetry/test_families.py",
    ),
)
