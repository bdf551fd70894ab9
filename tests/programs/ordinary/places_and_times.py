import datetime
import locale
import os
import sys
import time
import zoneinfo

print(datetime.datetime(2024, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")).astimezone(datetime.timezone.utc))
os.environ["TZ"] = "Asia/Tokyo"
time.tzset()
print(time.tzname, time.localtime(0).tm_hour)
print(sys.getdefaultencoding(), sys.getfilesystemencoding(), "naïve – 日本語 – 🙂")
print(locale.setlocale(locale.LC_ALL, "C.UTF-8"))
with open("naïve 日本.txt", "w", encoding="utf-8") as out:
    out.write("ü")
print(sorted(name for name in os.listdir(".") if name.endswith(".txt")))
