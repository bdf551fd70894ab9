"""pandas: CSV, JSON, Excel and Parquet written and read, groups, joins, time zones, a pivot, a rolling window, plots."""

import io

import pandas as pd

table = pd.DataFrame(
    {
        "day": pd.date_range("2024-03-30", periods=48, freq="h", tz="Europe/Berlin"),
        "city": ["Köln", "Bern"] * 24,
        "value": range(48),
    }
)
assert table.groupby("city")["value"].sum().to_dict() == {"Bern": 576, "Köln": 552}
# The clocks change in between: the second day has 23 hours.
assert table.day.dt.date.value_counts().sort_index().tolist()[:2] == [24, 23]
assert table.set_index("day").value.rolling("3h").mean().iloc[-1] == 46
wide = table.assign(hour=table.day.dt.hour).pivot_table(index="hour", columns="city", values="value", aggfunc="sum")
assert wide.shape == (24, 2)

table.to_csv("t.csv", index=False)
again = pd.read_csv("t.csv", parse_dates=["day"])
assert again.value.tolist() == table.value.tolist() and again.city.tolist() == table.city.tolist()
table.to_parquet("t.parquet")
pd.testing.assert_frame_equal(pd.read_parquet("t.parquet"), table, check_freq=False)
plain = table.assign(day=table.day.dt.tz_convert("UTC").dt.tz_localize(None))
plain.to_excel("t.xlsx", index=False)
assert pd.read_excel("t.xlsx").value.sum() == 1128
assert pd.read_json(io.StringIO(plain.to_json(orient="records", date_format="iso"))).shape == (48, 3)
merged = table.merge(pd.DataFrame({"city": ["Köln"], "land": ["NRW"]}), on="city", how="left")
assert merged.land.isna().sum() == 24
table.plot(x="day", y="value").figure.savefig("t.png")
print("fine")
