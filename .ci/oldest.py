"""Print the oldest versions that pyproject.toml allows, as constraints for pip."""

import re
import tomllib
from pathlib import Path

# What the package runs on, not what it is built with.
EXTRAS = ("faiss", "parquet", "pretrained", "web")

project = tomllib.loads(
    Path(__file__).parents[1].joinpath("pyproject.toml").read_text()
)
wanted = list(project["project"]["dependencies"])
for extra in EXTRAS:
    wanted += project["project"]["optional-dependencies"][extra]
for line in wanted:
    name, version = re.match(r"([\w.-]+)>=([\w.]+)", line).groups()
    print(f"{name}=={version}")
# matplotlib 3.10.0 uses what later versions warn of, which notebooks would show.
print("pyparsing<3.3")
