"""What `from geoimages import ...` offers, and when it is imported."""

import ast
import subprocess
import sys
from pathlib import Path

import geoimages

HEAVY = {"h5py", "matplotlib", "pandas", "scipy", "skimage", "sklearn"}
STUB = Path(geoimages.__file__).with_suffix(".pyi")


def imported_by(code):
    """The heavy libraries that a fresh interpreter holds after a line of code."""
    told = f"{code}; import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", told], capture_output=True, text=True, check=True
    )
    return HEAVY & set(done.stdout.split())


def test_all_is_what_the_stub_names():
    lines = ast.parse(STUB.read_text(encoding="utf-8")).body
    imports = [line for line in lines if isinstance(line, ast.ImportFrom)]
    names = [line.names[0].name for line in imports if line.module]
    modules = [line.names[0].name for line in imports if not line.module]
    assert geoimages.__all__ == sorted(names)
    assert dir(geoimages) == sorted(names + modules)


def test_every_public_name_is_documented():
    for name in geoimages.__all__:
        value = getattr(geoimages, name)
        assert value.__doc__, name
        members = vars(value).items() if isinstance(value, type) else ()
        for member, method in members:
            if not member.startswith("_") and callable(method):
                assert method.__doc__, f"{name}.{member}"


def test_the_import_takes_nothing_along():
    assert not imported_by("import geoimages")
    assert "matplotlib" in imported_by("from geoimages import Plots")


def test_modules_are_there_without_an_import_of_their_own():
    code = "import geoimages; geoimages.neural.ConvNetClassifier"
    assert "sklearn" in imported_by(code)
    from geoimages.distance import PairwiseModel

    assert geoimages.distance.PairwiseModel is geoimages.PairwiseModel is PairwiseModel
