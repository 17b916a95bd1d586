"""The gallery shows figures as a notebook does: pyplot's, and that of the last line."""

from pathlib import Path

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst, matplotlib_scraper


def show(block, block_vars, gallery_conf):
    """Save the figures of one block of an example, and return the text that shows them.

    Parameters
    ----------
    block, block_vars, gallery_conf : tuple, dict, dict
        As Sphinx-Gallery hands them to an image scraper.

    Returns
    -------
    rst : str
    """
    rst = matplotlib_scraper(block, block_vars, gallery_conf)
    variables = block_vars["example_globals"]
    last = variables.get("___")  # the value of the last line
    if not isinstance(last, Figure):
        return rst
    variables["___"] = None  # shown
    if rst.strip():  # as one of pyplot's
        return rst
    path = Path(next(block_vars["image_path_iterator"]))
    sharp = path.with_name(f"{path.stem}_2_00x{path.suffix}")
    last.savefig(path, dpi=100)
    last.savefig(sharp, dpi=200)
    paths = [{0: str(path), 2.0: str(sharp)}]
    return figure_rst([str(path)], gallery_conf["src_dir"], srcsetpaths=paths)
