"""Execute the notebooks, each in a fresh kernel, and store their output.

Every other ``.py`` here is a notebook's source; its ``.ipynb`` is that source with the
output on the drawn sample, or on the real archive for those of ``ON_ARCHIVE``. ``python
execute.py`` executes the former, ``python execute.py NAME --data FOLDER`` the latter;
``--output FOLDER`` stores the output of any on either elsewhere.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).resolve().parent
NAMES = (
    "etl_image_classification",
    "train_image_classification",
    "predict_image_classification",
    "etl_image_similarity",
    "dev_kmeans_image_similarity",
    "train_predict_image_similarity",
    "compare_similarity_models",
    "search_core_photographs",
)
ON_ARCHIVE = ("train_image_classification",)  # whose output here is that of the archive
# Not the notebook's fault: matplotlib's font list built on first use, and deprecation
# warnings of ipykernel itself.
_PRELUDE = """
import warnings
import matplotlib.font_manager
warnings.simplefilter("error")
warnings.filterwarnings("ignore", module="ipykernel")
"""
_LARGE = 100_000  # bytes of a figure
_WIDGET = "application/vnd.jupyter.widget-view+json"


def read_source(name):
    """Read a notebook's source: no output, cells numbered in order."""
    notebook = jupytext.read(HERE / f"{name}.py", fmt="py:percent")
    for place, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{place:02d}", {}
    notebook.nbformat_minor = 5
    notebook.metadata = {
        "kernelspec": {
            "display_name": "Python 3",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python", "file_extension": ".py"},
    }
    return notebook


def execute(notebook, folder, data=None):
    """Execute a notebook in a folder; any error, warning or machine path is an error.

    Parameters
    ----------
    notebook : NotebookNode
        From `read_source`; the output is added to its cells.
    folder : path-like
        Working directory of the kernel.
    data : path-like, optional
        Folder of the real archive; by default the drawn sample is used.
    """
    environment = {k: v for k, v in os.environ.items() if k != "GEOIMAGES_DATA"}
    if data is not None:
        environment["GEOIMAGES_DATA"] = str(Path(data).resolve())
    kernelspec, language = notebook.metadata.kernelspec, notebook.metadata.language_info
    notebook.cells.insert(0, nbformat.v4.new_code_cell(_PRELUDE))
    NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        extra_arguments=["--log-level=50"],
        record_timing=False,
        coalesce_streams=True,
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
    ).execute(env=environment)
    del notebook.cells[0]
    notebook.metadata = {"kernelspec": kernelspec, "language_info": language}
    count = 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count, cell.metadata = count, {}
        # A progress bar is gone once it is done.
        cell.outputs = [o for o in cell.outputs if _WIDGET not in o.get("data", {})]
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = _smaller(output.data["image/png"])
            _check(output, cell, folder)


def _smaller(png):
    """Re-encode a figure's PNG without its alpha channel, optimized.

    A large one, of photographs, keeps 256 colors.
    """
    file = BytesIO()
    with Image.open(BytesIO(b64decode(png))) as image:
        image = image.convert("RGB")
        image.save(file, "PNG", optimize=True)
        if file.tell() > _LARGE:
            file = BytesIO()
            image.quantize(256).save(file, "PNG", optimize=True)
    return b64encode(file.getvalue()).decode()


def _check(output, cell, folder):
    """Raise an error if a cell shows what no reader should see."""
    data = output.get("data", {})
    html = re.sub(r"base64,[^\"]*", "", data.get("text/html", ""))
    text = "\n".join([output.get("text", ""), html, data.get("text/plain", "")])
    if output.get("name") == "stderr":
        raise RuntimeError(f"A cell wrote to stderr:\n{cell.source}\n{text}")
    private = [Path(folder), HERE.parent, Path.home()]
    private = [re.escape(str(path)) for path in private if path.parts[1:]]
    found = re.search(rf"({'|'.join(private)})\b| at 0x[0-9a-f]+", text)
    if found:
        raise RuntimeError(f"A cell shows {found[0]!r}:\n{cell.source}\n{text}")


def main(argv=None):
    """Execute notebooks and write them with their output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="by default all")
    parser.add_argument("--data", type=Path, help="folder of the real archive")
    parser.add_argument("--output", type=Path, help="by default beside the sources")
    arguments = parser.parse_args(argv)
    names = arguments.names or [
        name for name in NAMES if arguments.output or name not in ON_ARCHIVE
    ]
    for name in names:
        if not arguments.output and bool(arguments.data) != (name in ON_ARCHIVE):
            shown = "the archive" if name in ON_ARCHIVE else "the drawn sample"
            parser.error(
                f"{name} shows {shown} here; give --output to run it otherwise"
            )
    output = arguments.output or HERE
    output.mkdir(parents=True, exist_ok=True)
    for name in names:
        notebook = read_source(name)
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            execute(notebook, folder, arguments.data)
        nbformat.write(notebook, output / f"{name}.ipynb")
        print(f"{name}: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
