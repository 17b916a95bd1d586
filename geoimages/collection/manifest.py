"""Manifest of a folder of shards: what each of them holds, and what made it."""

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from ..files import NewerVersionError, atomic_path, check_version, read_regular
from .text import printable

NAME = "manifest.json"
FORMAT, VERSION = "geoimages.shards", 1
_SHARD = re.compile(r"shard-\d{5,9}\.h5")
_HEX = re.compile(r"[0-9a-f]{64}")
_MOST_BYTES = 1 << 28
_MOST_COUNTED = 1 << 50  # bytes, or pictures, of a shard
_BLOCK_BYTES = 1 << 22


def shard_name(number):
    """File name of a shard: ``shard-00000.h5``."""
    return f"shard-{number:05d}.h5"


def digest_of(value):
    """SHA-256 of a value of JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def sha256_of(path):
    """SHA-256 of a file."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            total.update(block)
    return total.hexdigest()


@dataclass
class Shard:
    """One shard: an entry of the manifest.

    Parameters
    ----------
    name : str
        Its file.
    members : dict
        ``start`` and ``stop`` among all that were listed, the ``first`` and ``last`` of
        them by name, and the ``sha256`` of what is known of them.
    plan : str
        SHA-256 of the members, the parameters and the version: a finished shard of the
        same plan is not written again.
    count : int
        Number of its pictures.
    n_bytes : int
        Size of the file.
    sha256 : str
        Of the file.
    seal : str
        Of all of the file but the pixels, which have checksums of their own.
    missing : str
        Why there is no such file; empty if there is.
    """

    name: str
    members: dict
    plan: str = ""
    count: int = 0
    n_bytes: int = 0
    sha256: str = ""
    seal: str = ""
    missing: str = ""


@dataclass
class Manifest:
    """What a folder of shards holds: ``manifest.json``.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width, channels).
    made : dict
        What made the shards: ``how``, ``geoimages`` (version), ``parameters``.
    shards : list of Shard
        In the order of their pictures.
    """

    image_shape: tuple
    made: dict
    shards: list = field(default_factory=list)

    @property
    def present(self):
        """The shards that were written."""
        return [shard for shard in self.shards if not shard.missing]

    def write(self, folder):
        """Write the manifest of a folder, atomically."""
        about = {
            "format": FORMAT,
            "version": VERSION,
            "created_by": f"geoimages {version('geoimages')}",
            "image_shape": list(self.image_shape),
            "made": self.made,
            "shards": [
                {name: value for name, value in asdict(shard).items() if value != ""}
                for shard in self.shards
            ],
        }
        with atomic_path(Path(folder) / NAME) as temporary:
            temporary.write_text(json.dumps(about, indent=1) + "\n")


def read_manifest(folder):
    """Read the manifest of a folder of shards.

    Raises
    ------
    FileNotFoundError
        If the folder has none.
    ValueError
        If it is damaged, or names files elsewhere.
    """
    path = Path(folder) / NAME
    if not path.is_file():
        raise FileNotFoundError(
            f"No collection in the folder {folder}: it has no {NAME}; create one with "
            f"'geoimages etl SOURCE -o {Path(folder).name}/'."
        )
    try:
        about = json.loads(read_regular(path, _MOST_BYTES))
        if about["format"] != FORMAT:
            raise ValueError("another format")
        if type(about["version"]) is not int or about["version"] < 1:
            raise ValueError("a version that is none")
        check_version(path, about["version"], VERSION)
        shards = [Shard(**shard) for shard in about["shards"]]
        shape = tuple(about["image_shape"])
        names = [shard.name for shard in shards]
        if len(shape) != 3 or not all(type(side) is int and side > 0 for side in shape):
            raise ValueError(f"an image_shape of {shape}")
        if not all(map(_SHARD.fullmatch, names)) or len(set(names)) < len(names):
            raise ValueError("names that are not those of shards, or stand twice")
        for shard in shards:
            _check_shard(shard, math.prod(shape))
        _check_distinct([shard for shard in shards if not shard.missing])
        made = about["made"]
        if not isinstance(made, dict):
            raise ValueError("nothing of what made it")
    except NewerVersionError:
        raise
    except (
        *(ValueError, LookupError, TypeError, AttributeError, OSError),
        RecursionError,
    ) as error:
        why = " ".join(str(error).split())
        raise ValueError(
            f"{path} is not a valid manifest of shards ({why or type(error).__name__}); "
            "run the command that made it again."
        ) from None
    return Manifest(shape, made, shards)


def _check_shard(shard, n_of_picture):
    """Raise a ValueError unless the values of an entry make sense."""
    counts = shard.count, shard.n_bytes
    texts = shard.plan, shard.missing, shard.sha256, shard.seal
    if not all(type(count) is int and 0 <= count <= _MOST_COUNTED for count in counts):
        raise ValueError(f"{shard.name} has impossible counts")
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{shard.name} has values that are no text")
    if shard.missing:
        shard.missing = " ".join(printable(shard.missing).split())
    hashes = () if shard.missing else (shard.sha256, shard.seal)
    if not all(map(_HEX.fullmatch, hashes)) or not isinstance(shard.members, dict):
        raise ValueError(f"{shard.name} has no hashes")
    if not shard.missing and shard.count * n_of_picture > shard.n_bytes:
        raise ValueError(
            f"{shard.name} has impossible counts: {shard.count:,} pictures in "
            f"{shard.n_bytes:,} bytes"
        )


def _check_distinct(shards):
    """Raise a ValueError where two shards hold the same pictures."""
    known = {}
    for shard in shards:
        other = known.setdefault(shard.seal, shard.name)
        if shard.count and other != shard.name:
            raise ValueError(f"{shard.name} is {other} again, with the same keys")
