"""Makes matplotlib's list of fonts once, and has matplotlib read it from the image.

matplotlib looks for the list in a directory that it can write to, which a cell has only after its start, so every program
would search all fonts again. Runs in the image while it is built, without a network.
"""

import pathlib
import re

import matplotlib.font_manager as manager

PLACE = pathlib.Path("/usr/local/share/matplotlib")

PLACE.mkdir(parents=True, exist_ok=True)
fonts = manager.FontManager()
if not fonts.ttflist:
    raise SystemExit("matplotlib found no fonts")
manager.json_dump(fonts, PLACE / f"fontlist-v{manager.FontManager.__version__}.json")

source = pathlib.Path(manager.__file__)
text = source.read_text(encoding="utf-8")
# In the one function that reads the list: its directory. Where the list does not fit, matplotlib searches as ever.
start = text.index("def _load_fontmanager(")
head, body = text[:start], text[start:]
body, changed = re.subn(r"mpl\.get_cachedir\(\)", repr(str(PLACE)), body, count=1)
if changed != 1:
    raise SystemExit(f"{source}: no longer asks for its cache directory where it reads the list of fonts")
source.write_text(head + body, encoding="utf-8")
