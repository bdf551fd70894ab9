import logging
import time

began = time.monotonic()
import matplotlib

matplotlib.use("Agg")
# It may say that building the font cache takes long; whether it does is the machine's matter.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
matplotlib.rcParams["svg.hashsalt"] = "the same"
import matplotlib.pyplot as plt
import numpy as np

x = np.linspace(0, 7, 200)
figure, axes = plt.subplots(1, 2, figsize=(7, 3))
axes[0].plot(x, np.sin(x), label="sine")
axes[0].set_title(r"$\sin x$, größer")
axes[0].legend()
axes[1].hist(np.random.default_rng(7).normal(size=1000), bins=30)
figure.tight_layout()
figure.savefig("plot.png")
with open("seconds.txt", "w") as file:
    file.write(f"{time.monotonic() - began:.3f}\n")
figure.savefig("plot.pdf", metadata={"CreationDate": None})
figure.savefig("plot.svg", metadata={"Date": None})

figure = plt.figure()
axes = figure.add_subplot(projection="3d")
u, v = np.meshgrid(np.linspace(-3, 3, 40), np.linspace(-3, 3, 40))
axes.plot_surface(u, v, np.exp(-u * u - v * v), cmap="viridis")
figure.savefig("surface.png")
print("drawn")
