"""pyarrow: tables, kernels in threads, Parquet, IPC files mapped into memory, CSV, a partitioned dataset, compression."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.parquet as pq

table = pa.table({"key": ["a", "b", None] * 100_000, "value": list(range(300_000))})
assert pc.sum(table["value"]).as_py() == 44_999_850_000
assert table["key"].null_count == 100_000
sums = table.group_by("key").aggregate([("value", "sum")]).to_pydict()
assert dict(zip(sums["key"], sums["value_sum"]))["a"] == 14_999_850_000
for codec in ("snappy", "gzip", "zstd", "lz4", "brotli"):
    pq.write_table(table, f"t-{codec}.parquet", compression=codec)
    assert pq.read_table(f"t-{codec}.parquet", columns=["value"]).num_rows == 300_000
with pa.OSFile("t.arrow", "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
    writer.write_table(table)
with pa.memory_map("t.arrow") as mapped:
    assert pa.ipc.open_file(mapped).read_all().equals(table)
pa.csv.write_csv(table.slice(0, 1000), "t.csv")
assert pa.csv.read_csv("t.csv").num_rows == 1000
ds.write_dataset(table, "parts", format="parquet", partitioning=["key"], partitioning_flavor="hive")
found = ds.dataset("parts", partitioning="hive").to_table(filter=ds.field("key") == "b")
assert found.num_rows == 100_000
assert table.to_pandas().value.max() == 299_999
print("fine")
