"""Beautiful Soup: broken HTML is read, searched, changed and written, entities and encodings included."""

from bs4 import BeautifulSoup

page = """<html><head><title>K&ouml;ln &amp; Bern</title><body>
<div class="a b" id=one><p>first<p>second <a href="/x?y=1&z=2">link</a>
<table><tr><td>1<td>2<tr><td>3<td>4</table></div><script>var x = "</p>";</script>"""
soup = BeautifulSoup(page, "html.parser")
assert soup.title.string == "Köln & Bern"
assert soup.select_one("#one.a.b a[href]")["href"] == "/x?y=1&z=2"
assert [cell.find(string=True) for cell in soup.find_all("td")] == ["1", "2", "3", "4"]
soup.a.replace_with("nothing")
soup.find("script").decompose()
assert "var x" not in str(soup) and soup.find("a") is None
soup.div["class"].append("c")
assert 'class="a b c"' in str(soup)
latin = BeautifulSoup("<meta charset='iso-8859-1'><p>Grüße</p>".encode("latin-1"), "html.parser")
assert latin.p.get_text() == "Grüße" and latin.original_encoding == "iso-8859-1"
print("fine")
