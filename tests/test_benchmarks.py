"""The benchmarks' own arithmetic, and that none of them takes the others with it; none is run here."""

import pytest

from mixbench.measure import throughput
from tests import failing_benchmarks
from tests.benchmarks import __main__ as table
from tests.benchmarks import same
from tests.benchmarks.table import Line


@pytest.mark.parametrize(("values", "spread"), [([1.0, 2.0], "1.25–1.75"), ([1.0, 2.0, 4.0], "1.50–3.00"), ([1.0], "")])
def test_quartiles_of_a_few_rounds_lie_between_them(values: list[float], spread: str) -> None:
    assert Line("", values).spread == spread


def test_a_benchmark_that_fails_is_a_row_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("raises", "dies", "leaves", "works")
    monkeypatch.setattr(table, "BENCHMARKS", dict.fromkeys(names, (2,)))
    monkeypatch.setattr(table, "environment", failing_benchmarks.environment)
    monkeypatch.setattr(table, "lines_of", failing_benchmarks.lines_of)
    with pytest.raises(SystemExit) as ended:
        table.main()
    told = capsys.readouterr()
    raised, died, left, works = told.out.splitlines()[-4:]
    assert ended.value.code == 1
    assert raised == r"| raises | ValueError: a \| b |  | failed | `raises.py 2` |"
    assert died.startswith("| dies | BrokenProcessPool: ") and died.endswith(" |  | failed | `dies.py 2` |")
    assert left == "| leaves | SystemExit: nothing to compare |  | failed | `leaves.py 2` |"
    assert works == "| all is well | 2.00 s (1.50–2.50) | < 4 s | met | `works.py 2` |"
    assert "in lines_of" in told.err and "more of it" in told.err, "where it was raised, by the process that did"
    monkeypatch.setattr(table, "BENCHMARKS", {"works": ()})
    table.main()


def test_ctrl_c_before_a_run_is_over_leaves_nothing_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(throughput, "LOAD_SECONDS", throughput.LOAD_SECONDS)  # main sets it
    monkeypatch.setattr(throughput, "measure", interrupted)
    with pytest.raises(SystemExit, match="no run is over"):
        same.main(2)
