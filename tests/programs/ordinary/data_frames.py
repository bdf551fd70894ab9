import pickle

import pandas as pd

table = pd.read_csv("table.csv")
print(table.describe().round(6).to_string())
print(table.dtypes.to_string())

times = pd.date_range("2024-03-30 22:00", periods=8, freq="h", tz="Europe/Berlin")
series = pd.Series(range(8), index=times)
print(series.tz_convert("Asia/Kolkata").to_string())
print(series.resample("6h").sum().to_string())
print(pd.Timestamp("2024-10-27 02:30").tz_localize("Europe/Berlin", ambiguous=False).isoformat())

frame = pd.DataFrame({"key": list("abab") * 50_000, "value": range(200_000)})
print(frame.groupby("key")["value"].agg(["sum", "mean", "max"]).to_string())
joined = frame.merge(pd.DataFrame({"key": ["a", "b"], "name": ["Ann", "Ben"]}), on="key")
print(len(joined), joined["name"].value_counts().to_dict())

joined.to_csv("joined.csv", index=False)
again = pd.read_csv("joined.csv")
print(again.equals(joined))
joined.to_pickle("joined.pickle.gz")
print(pd.read_pickle("joined.pickle.gz").equals(joined), len(pickle.dumps(series)))
series.rename("value").to_frame().to_json("series.json", orient="table")
try:
    pd.read_csv("no_such_file.csv")
except FileNotFoundError as error:
    print(error)
