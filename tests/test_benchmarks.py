"""The benchmarks' own arithmetic, and that none of them takes the others with it; none is run here."""

import pytest

from mixbench.measure import throughput
from tests.benchmarks import same
from tests.benchmarks.table import Line


@pytest.mark.parametrize(("values", "spread"), [([1.0, 2.0], "1.25–1.75"), ([1.0, 2.0, 4.0], "1.50–3.00"), ([1.0], "")])
def test_quartiles_of_a_few_rounds_lie_between_them(values: list[float], spread: str) -> None:
    assert Line("", values).spread == spread


def test_ctrl_c_before_a_run_is_over_leaves_nothing_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(throughput, "LOAD_SECONDS", throughput.LOAD_SECONDS)  # main sets it
    monkeypatch.setattr(throughput, "measure", interrupted)
    with pytest.raises(SystemExit, match="no run is over"):
        same.main(2)
