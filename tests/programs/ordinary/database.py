import sqlite3

connection = sqlite3.connect("notes.db")
print(connection.execute("PRAGMA journal_mode=WAL").fetchone())
connection.execute("CREATE VIRTUAL TABLE notes USING fts5(body)")
with connection:
    connection.executemany("INSERT INTO notes VALUES (?)", [(f"note number {n}",) for n in range(1000)])
print(connection.execute("SELECT body FROM notes WHERE notes MATCH '42'").fetchall())
second = sqlite3.connect("notes.db")
print(second.execute("SELECT count(*) FROM notes").fetchone())
try:
    connection.execute("SELECT nothing")
except sqlite3.OperationalError as error:
    print(error)
