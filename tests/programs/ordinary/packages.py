import os
import subprocess
import sys
from pathlib import Path


def call(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    print(Path(command[0]).name, done.returncode, *[line for line in done.stdout.splitlines() if "passed" not in line][-1:])
    if done.returncode:
        print(done.stderr[-600:])


Path("project/greet").mkdir(parents=True)
Path("project/greet/__init__.py").write_text("def hello():\n    return 'hello'\n")
Path("project/pyproject.toml").write_text('[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n[project]\nname = "greet"\nversion = "1.0"\n[tool.setuptools]\npackages = ["greet"]\n')
call(sys.executable, "-m", "pip", "wheel", "-q", "--no-index", "--no-build-isolation", "--no-deps", "-w", "wheels", "./project")
call("/usr/bin/python3", "-m", "venv", "env")
call("env/bin/pip", "install", "-q", "--no-index", "--find-links", "wheels", "greet")
call("env/bin/python", "-c", "import greet, sys; print(greet.hello(), sys.prefix != sys.base_prefix)")
Path("test_it.py").write_text("import pytest\n\ndef test_one(tmp_path):\n    (tmp_path / 'a').write_text('a')\n\n@pytest.mark.parametrize('n', range(3))\ndef test_n(n):\n    assert n < 2\n")
done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"], capture_output=True, text=True)
print(done.returncode, "1 failed, 3 passed" in done.stdout)
big = Path("big")
with big.open("wb") as file:
    for _ in range(100):
        file.write(os.urandom(1 << 20))
print(big.stat().st_size)
