"""The demo does the main job and lists what it drew."""

import pytest
from PIL import Image

from geoimages.cli.demo import run_demo

MATCHES = ["matches_pairwise.png", "matches_kmeans.png", "matches_rock.png"]
FIGURES = ["sample.png", *MATCHES, "elbow.png"]


def check(output, lines, pictures):
    assert [path.name for path in pictures] == FIGURES
    for path in pictures:
        with Image.open(path) as image:
            assert min(image.size) > 100
            assert max(image.size) > 500
        assert any(line.strip() == str(path) for line in lines)
    assert lines[-1 - len(FIGURES)] == "Figures written:"
    assert (output / "rocks.h5").exists()


def test_on_the_drawn_sample(tmp_path):
    lines = []
    pictures = run_demo(tmp_path / "demo", echo=lines.append)
    check(tmp_path / "demo", lines, pictures)
    text = "\n".join(lines)
    assert "603 files seen: 600 kept, 3 refused" in text
    assert "PairwiseModel, pixels: the pictures most similar to" in text
    assert "PairwiseModel, RockFeatures: the pictures most similar to" in text
    assert text.count("precision at 6 over 200 queries") == 3


def test_on_pictures_of_mixed_sizes_without_classes(tmp_path, draw):
    for i in range(4):
        draw(f"mine/{i}.png", seed=i, size=(40 + i, 60))
    lines = []
    pictures = run_demo(tmp_path / "demo", tmp_path / "mine", echo=lines.append)
    check(tmp_path / "demo", lines, pictures)
    assert "4 sizes among 4 looked at" in "\n".join(lines)
    assert "Tried 1 to 4 clusters" in "\n".join(lines)


def test_a_mistake_leaves_no_empty_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="No such folder or zip"):
        run_demo(tmp_path / "demo", tmp_path / "nope.zip")
    assert not (tmp_path / "demo").exists()


@pytest.mark.real
def test_on_the_real_archive(real_data, tmp_path):
    lines = []
    source = real_data / "geological_similarity.zip"
    pictures = run_demo(tmp_path, source, echo=lines.append)
    check(tmp_path, lines, pictures)
