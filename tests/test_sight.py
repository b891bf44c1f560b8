import pytest

from rollout.sight import figure


@pytest.mark.parametrize(
    ("value", "digits", "words"),
    [
        (184.2, 2, "180"),
        (99.9, 2, "100"),
        (2.14, 2, "2.1"),
        (0.0123, 2, "0.012"),
        (12_345.0, 3, "12,300"),
        (27_500_000.0, 2, "28,000,000"),
        (10.4, 3, "10.4"),
    ],
)
def test_a_figure_is_rounded_and_has_no_exponent(value: float, digits: int, words: str) -> None:
    assert figure(value, digits) == words
