import base64
import collections
import decimal
import difflib
import fractions
import functools
import hashlib
import hmac
import itertools
import json
import random
import re
import secrets
import statistics
import string
import struct
import textwrap
import urllib.parse
import uuid
import xml.etree.ElementTree as tree

random.seed(1)
print(random.sample(range(100), 5), len(secrets.token_hex(8)))
print(decimal.Decimal(1) / 3, fractions.Fraction(1, 3), statistics.median([3, 1, 2]))
print(hashlib.sha256(b"x").hexdigest(), hmac.new(b"k", b"m", "sha256").hexdigest())
print(json.dumps({"a": [1, None, 1.5]}), base64.b64encode(b"bytes"), struct.pack("<I", 7))
print(re.sub(r"(\w+) (\w+)", r"\2 \1", "hello world"), collections.Counter("mississippi").most_common(2))
print(uuid.uuid5(uuid.NAMESPACE_DNS, "example.org"), urllib.parse.urlencode({"q": "a b"}))
print(tree.fromstring("<a><b c='1'/></a>")[0].attrib, textwrap.fill("long " * 20, 40))
print(list(difflib.unified_diff(["a"], ["b"], lineterm="")), string.Template("$a").substitute(a=1))
print(functools.reduce(int.__mul__, range(1, 30)), list(itertools.permutations("abc"))[:2])
