"""Ratings of two readers who do not exist, as the page of a study saves them: ratings.py KEY FOLDER."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path


def main(key: Path, folder: Path) -> None:
    """Write a file for each reader into `folder`; they agree in most cases."""
    about = json.loads((key / "study.json").read_text(encoding="utf-8"))
    with open(key / "key.csv", encoding="utf-8", newline="") as file:
        cases = [row["case"] for row in csv.DictReader(file)]
    folder.mkdir(exist_ok=True)
    head = ["study", "reader", "position", "case", *about["questions"], "preference", "comment", "seconds"]
    for reader, shift in (("R-1", 0), ("R-2", 1)):
        with open(folder / f"study-{about['study']}-{reader}.csv", "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, quoting=csv.QUOTE_ALL)
            table.writerow(head)
            for position, case in enumerate(cases, start=1):
                scores = [2 + (position + shift * (position % 3 == 0)) % 3 for _ in about["questions"]]
                row = [about["study"], reader, position, case, *scores, "", "", 10 + position + shift / 2]
                table.writerow(row)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
