"""Tables as people read them in a terminal."""

import pandas as pd

from geoimages.cli.printing import print_table


def test_numbers_have_the_decimals_that_their_column_needs(capsys):
    table = pd.DataFrame(
        {
            "x": [412.5, 8.0],
            "tiles": [3.0, None],
            "depth": [12.25, 12.3],
            "distance": [0.123456, 0.0],
        }
    )
    print_table(table)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["x", "tiles", "depth", "distance"],
        ["412.5", "3", "12.25", "0.1235"],
        ["8.0", "12.30", "0.0000"],
    ]
