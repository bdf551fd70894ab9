"""matplotlib: PNG, PDF, SVG, three dimensions, an animation; the list of fonts is there already."""

import os
import time

began = time.monotonic()
import matplotlib
import matplotlib.pyplot as plt
from matplotlib import animation, font_manager

assert matplotlib.get_backend().lower() == "agg", matplotlib.get_backend()
figure, axes = plt.subplots(2, 1, figsize=(6, 4))
axes[0].plot([1, 4, 9, 16], label="squares: äöü €")
axes[0].set_title(r"$\sum_{i=1}^{n} i^2$")
axes[0].legend()
axes[1].imshow([[0, 1], [2, 3]])
figure.savefig("plot.png")
first = time.monotonic() - began
for name in ("plot.pdf", "plot.svg"):
    figure.savefig(name)
space = plt.figure().add_subplot(projection="3d")
space.plot([0, 1, 2], [0, 1, 0], [0, 1, 4])
space.figure.savefig("space.png")
moving = plt.figure()
(line,) = moving.add_subplot().plot([0, 1], [0, 1])
animation.FuncAnimation(moving, lambda i: line.set_ydata([0, i]), frames=3).save("moving.gif", writer="pillow")

for name, start in {
    "plot.png": b"\x89PNG",
    "plot.pdf": b"%PDF",
    "plot.svg": b"<?xml",
    "space.png": b"\x89PNG",
    "moving.gif": b"GIF8",
}.items():
    with open(name, "rb") as file:
        assert file.read(5).startswith(start), name
    assert os.path.getsize(name) > 1000, name
assert "DejaVu" in font_manager.findfont("DejaVu Sans")
# Nothing had to be searched for and written down first, which takes tens of seconds.
assert first < 20, first
print("fine")
