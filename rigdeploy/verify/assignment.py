"""The cheapest pairing of two lists."""

from __future__ import annotations

from collections.abc import Sequence

_NEVER = 1 << 60


def assign(costs: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """The pairs (row, column) of least total cost that use every row, or every column if those are fewer.

    The Hungarian method with potentials (Kuhn 1955; the shortest-path form of Jonker and Volgenant 1987): exact,
    in time rows squared times columns.
    """
    rows, columns = len(costs), len(costs[0])
    if rows > columns:
        turned = assign([[line[column] for line in costs] for column in range(columns)])
        return sorted((row, column) for column, row in turned)
    potentials = ([0] * (rows + 1), [0] * (columns + 1))
    owner = [0] * (columns + 1)  # the row that holds each column; both count from 1, and 0 is nobody
    for row in range(1, rows + 1):
        owner[0] = row
        column, came_from = _cheapest_path(costs, potentials, owner)
        while column:  # Hand each column on the path to the row before.
            owner[column] = owner[came_from[column]]
            column = came_from[column]
    return sorted((owner[column] - 1, column - 1) for column in range(1, columns + 1) if owner[column])


def _cheapest_path(
    costs: Sequence[Sequence[int]], potentials: tuple[list[int], list[int]], owner: list[int]
) -> tuple[int, list[int]]:
    """The free column at the end of the cheapest alternating path from column 0, and the path; moves potentials."""
    of_row, of_column = potentials
    columns = len(owner)
    best = [_NEVER] * columns
    came_from = [0] * columns
    used: set[int] = set()
    column = 0
    while owner[column]:
        used.add(column)
        row = owner[column]
        for other in set(range(1, columns)) - used:
            reduced = costs[row - 1][other - 1] - of_row[row] - of_column[other]
            if reduced < best[other]:
                best[other], came_from[other] = reduced, column
        column = min(set(range(1, columns)) - used, key=lambda other: (best[other], other))
        step = best[column]
        for done in used:
            of_row[owner[done]] += step
            of_column[done] -= step
        for other in set(range(1, columns)) - used:
            best[other] -= step
    return column, came_from
