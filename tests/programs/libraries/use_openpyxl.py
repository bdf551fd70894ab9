"""openpyxl: sheets, formulas, styles, a chart, dates, many rows in the mode that streams; read again."""

import datetime

from openpyxl import Workbook, load_workbook
from openpyxl.chart import BarChart, Reference
from openpyxl.styles import Font

book = Workbook()
sheet = book.active
sheet.title = "Größen"
sheet.append(["name", "value", "day"])
for number in range(1, 6):
    sheet.append([f"n{number}", number * 1.5, datetime.date(2024, 2, 24 + number)])
sheet["B7"] = "=SUM(B2:B6)"
sheet["A1"].font = Font(bold=True, color="FF0000")
chart = BarChart()
chart.add_data(Reference(sheet, min_col=2, min_row=1, max_row=6), titles_from_data=True)
sheet.add_chart(chart, "E2")
book.save("b.xlsx")
again = load_workbook("b.xlsx")["Größen"]
assert again["B7"].value == "=SUM(B2:B6)" and again["A1"].font.bold
assert again["C6"].value == datetime.datetime(2024, 2, 29)
assert [row[1] for row in again.iter_rows(min_row=2, max_row=6, values_only=True)] == [1.5, 3.0, 4.5, 6.0, 7.5]
large = Workbook(write_only=True)
rows = large.create_sheet("many")
for number in range(20_000):
    rows.append([number, number**2])
large.save("large.xlsx")
total = sum(row[0] for row in load_workbook("large.xlsx", read_only=True)["many"].iter_rows(values_only=True))
assert total == 199_990_000
print("fine")
