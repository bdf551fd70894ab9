import csv
import json
import pathlib

rows = list(csv.DictReader(open("table.csv", newline="")))
totals = {}
for row in rows:
    totals[row["name"]] = totals.get(row["name"], 0) + int(row["amount"])
pathlib.Path("results").mkdir()
pathlib.Path("results/totals.json").write_text(json.dumps(totals, sort_keys=True))
pathlib.Path("results/empty.bin").write_bytes(b"")
pathlib.Path("results/noise.bin").write_bytes(bytes(range(256)) * 33)
print(totals)
