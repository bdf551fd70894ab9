def divide(a, b):
    return a / b


class Wrapped(Exception):
    pass


print("before")
try:
    divide(1, 0)
except ZeroDivisionError as error:
    raise Wrapped("could not divide") from error
