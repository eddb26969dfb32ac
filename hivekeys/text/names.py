"""Writes lists of host names short: hive[1:3]. Pure."""

from collections.abc import Iterable


def fold_names(names: Iterable[str]) -> str:
    """Host names in the inventory's own short form: hive1, hive2, hive3 are hive[1:3]."""
    runs: list[tuple[str, list[str]]] = []  # what stands before the number, and the numbers in a row
    for name in names:
        prefix = name.rstrip("0123456789")
        number = name[len(prefix) :]
        if runs and number and runs[-1][0] == prefix and _follows(runs[-1][1][-1], number):
            runs[-1][1].append(number)
        else:
            runs.append((prefix, [number]))
    return ", ".join(
        f"{prefix}[{numbers[0]}:{numbers[-1]}]"
        if len(numbers) > 2
        else ", ".join(prefix + number for number in numbers)
        for prefix, numbers in runs
    )


def _follows(one: str, two: str) -> bool:
    same_width = len(one) == len(two) or not (one.startswith("0") or two.startswith("0"))
    return one != "" and same_width and int(two) == int(one) + 1
