from sft_keras.reports import table
from sft_keras.reports.measure import Row

ROWS = [
    Row("float", 0.98765, 96714, 2415744, 390064, 0.0594, 30448),
    Row("int8", None, 7, 8, 9, 1234.5, None),
]


def test_text_is_aligned_and_has_units():
    head, *body = table.text(ROWS).splitlines()
    assert len({len(line) for line in (head, *body)}) == 1
    assert all(unit in head for unit in ("accuracy", "MACs", "latency ms", "arena bytes"))
    assert body[0].split() == [
        "float",
        "98.77",
        "%",
        "96,714",
        "2,415,744",
        "390,064",
        "0.059",
        "30,448",
    ]


def test_what_was_not_measured_says_so():
    assert table.text(ROWS).splitlines()[2].count(table.MISSING) == 2


def test_markdown_has_the_same_cells():
    lines = table.markdown(ROWS).splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {8}
    assert "| 2,415,744 |" in lines[2]
