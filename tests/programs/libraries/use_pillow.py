"""Pillow: drawing, text, resizing, JPEG, PNG, WebP, TIFF and GIF written and read; a bomb is noticed."""

import warnings

from PIL import Image, ImageDraw, ImageFilter, ImageFont

image = Image.new("RGB", (320, 200), "white")
draw = ImageDraw.Draw(image)
draw.ellipse((20, 20, 120, 120), fill="red", outline="black")
draw.text((130, 50), "Grüße €", fill="blue", font=ImageFont.load_default(20))
for name in ("i.png", "i.jpg", "i.webp", "i.tiff", "i.gif"):
    image.save(name)
    with Image.open(name) as again:
        red = again.convert("RGB").getpixel((70, 70))
        assert again.size == (320, 200) and red[0] > 200 and red[1] < 60, (name, red)
small = image.resize((32, 20), Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(1)).rotate(90, expand=True)
assert small.size == (20, 32)
frames = [Image.new("L", (10, 10), shade) for shade in (0, 128, 255)]
frames[0].save("m.gif", save_all=True, append_images=frames[1:])
with Image.open("m.gif") as moving:
    assert moving.n_frames == 3
Image.MAX_IMAGE_PIXELS = 1000
with warnings.catch_warnings():
    warnings.simplefilter("error")
    try:
        Image.open("i.png")
        raise AssertionError("a bomb passed")
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        pass
print("fine")
