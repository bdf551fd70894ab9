import copy
import dataclasses
import enum
import pickle
import typing


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: int
    colour: Colour
    next: "typing.Optional[Point]" = None


point = Point(1, Colour.RED, Point(2, Colour.RED))
print(pickle.loads(pickle.dumps(point)) == point, Point.__module__)
print(copy.deepcopy(point))
print(typing.get_type_hints(Point)["next"])
