# needs: fcntl/F_SETLK
import sqlite3
one, two = sqlite3.connect("a.db"), sqlite3.connect("a.db")
one.execute("create table t(x)")
one.execute("insert into t values (42)")
one.commit()
print(two.execute("select x from t").fetchall())
