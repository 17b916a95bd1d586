"""Damage to the bytes of a file, as disks, networks and people do it."""

import random

_INTERESTING = [
    *(0, 1, 2, 7, 16, 127, 128, 255, 256, 4095, 32767, 32768, 65535),
    *(2**31 - 1, 2**31, 2**32 - 16, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1),
]


def _somewhere(rng, data, length=1):
    return rng.randrange(max(1, len(data) - length + 1))


def flip_bits(rng, data):
    for _ in range(rng.choice([1, 1, 1, 2, 8, 64])):
        at = _somewhere(rng, data)
        data[at : at + 1] = bytes([data[at] ^ 1 << rng.randrange(8)])


def truncate(rng, data):
    del data[_somewhere(rng, data) :]


def extend(rng, data):
    data += rng.choice([bytes(512), bytes(data[:512]), rng.randbytes(64)])


def splice(rng, data):
    """Copy a block of the file to another place of it."""
    length = rng.choice([8, 64, 512, 4096])
    start, at = _somewhere(rng, data, length), _somewhere(rng, data, length)
    data[at : at + length] = data[start : start + length]


def swap(rng, data):
    """Swap two blocks."""
    length = rng.choice([1, 4, 8, 64, 512])
    a, b = sorted([_somewhere(rng, data, length), _somewhere(rng, data, length)])
    if a + length <= b:
        first, second = data[a : a + length], data[b : b + length]
        data[a : a + length], data[b : b + length] = second, first


def zero(rng, data):
    """Zero a page, or a part of one, as a file system that lost it does."""
    length = rng.choice([8, 64, 512, 4096])
    at = _somewhere(rng, data) // length * length
    data[at : at + length] = bytes(len(data[at : at + length]))


def insert(rng, data):
    at = _somewhere(rng, data)
    data[at:at] = rng.randbytes(rng.choice([1, 4, 512]))


def delete(rng, data):
    at = _somewhere(rng, data)
    del data[at : at + rng.choice([1, 4, 512])]


def put_number(rng, data):
    """Overwrite some bytes by a number that sizes and offsets are afraid of."""
    width = rng.choice([1, 2, 4, 8])
    at = _somewhere(rng, data, width)
    number = rng.choice(_INTERESTING) % 256**width
    data[at : at + width] = number.to_bytes(width, rng.choice(["little", "big"]))


def change_digit(rng, data):
    """Change a digit of a text, such as a header in JSON."""
    digits = [i for i, byte in enumerate(data[:20_000]) if 48 <= byte <= 57]
    if digits:
        data[rng.choice(digits)] = rng.randrange(48, 58)


MUTATIONS = [
    *(flip_bits, flip_bits, flip_bits, truncate, extend, splice, swap, zero, insert),
    *(delete, put_number, put_number, change_digit),
]


def mutate(data, seed):
    """Damage bytes, reproducibly: one mutation mostly, up to four."""
    rng, out = random.Random(seed), bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if out:
            rng.choice(MUTATIONS)(rng, out)
    return bytes(out)
