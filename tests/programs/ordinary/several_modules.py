import inspect
import runpy
import sys

import shapes
from package import inner
from package.inner import deep

print(shapes.area(3, 4), inner.NAME, deep())
print(__name__, sys.argv[1:], inspect.getsource(shapes.area).splitlines()[0])
print(sys.modules["__main__"].__dict__ is globals())
print(runpy.run_module("package.tool")["answer"])
shapes.fail()
