import sys

first = input("your name? ")
print("hello", first)
total = 0
for line in sys.stdin:
    total += int(line)
print("sum", total)
try:
    input()
except EOFError:
    print("end of input")
