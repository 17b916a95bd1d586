"""The reader of PyTorch's weights files: what it reads, and what it refuses to."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from geoimages.features.torch_weights import read_tensors

EMPTY = b"ccollections\nOrderedDict\n)R"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
LENGTH = {"Float": 4, "Half": 2, "Double": 8, "Long": 8}


def text(value):
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def number(value):
    return b"J" + value.to_bytes(4, "little", signed=True)


def tuple_of(*parts):
    return b"(" + b"".join(parts) + b"t"


def storage(key="0", length=6, kind="Float", device="cpu", view=b"N"):
    parts = text("storage"), b"ctorch\n%sStorage\n" % kind.encode(), text(key)
    return tuple_of(*parts, text(device), number(length), view) + b"Q"


def tensor(where=None, offset=0, shape=(2, 3), strides=(3, 1)):
    where = storage() if where is None else where
    sides = (tuple_of(*map(number, values)) for values in (shape, strides))
    return REBUILD + tuple_of(where, number(offset), *sides, b"\x89", EMPTY) + b"R"


def items(**tensors):
    inside = b"".join(text(name) + value for name, value in tensors.items())
    return EMPTY + b"(" + inside + b"u"


def file_of(program, storages=None, order="little_endian"):
    """A file: magic number, version, byte order, program, keys and numbers."""
    if storages is None:
        storages = {"0": np.arange(6, dtype="<f4")}
    parts = [0x1950A86A20F9469CFC6C, 1001, {order: True}]
    parts = [pickle.dumps(part, 2) for part in parts]
    parts += [b"\x80\x02" + program + b".", pickle.dumps(list(storages), 2)]
    for values in storages.values():
        parts += [len(values).to_bytes(8, "little"), values.tobytes()]
    return b"".join(parts)


def test_tensors_are_read():
    halves, longs = np.arange(5, dtype="<f2"), np.array([7, 1 << 40])
    program = items(
        a=tensor(),
        turned=tensor(shape=(3, 1, 2), strides=(1, 9, 3)),
        part=tensor(offset=2, shape=(2, 2), strides=(2, 1)),
        half=tensor(storage("h", 5, "Half"), shape=(5,), strides=(1,)),
        count=tensor(storage("n", 2, "Long"), offset=1, shape=(), strides=()),
    )
    values = np.arange(6, dtype=np.float32)
    read = read_tensors(file_of(program, {"h": halves, "n": longs, "0": values}))
    np.testing.assert_array_equal(read["a"], values.reshape(2, 3))
    np.testing.assert_array_equal(read["turned"][:, 0], values.reshape(2, 3).T)
    np.testing.assert_array_equal(read["part"], [[2, 3], [4, 5]])
    np.testing.assert_array_equal(read["half"], halves)
    assert read["count"] == 1 << 40
    assert read["half"].dtype == np.float16


def test_attributes_of_the_dictionary_are_left_out():
    state = (
        b"}" + text("_metadata") + items(a=b"}" + text("version") + b"K\x01s") + b"s"
    )
    read = read_tensors(file_of(items(a=tensor()) + state + b"b"))
    assert list(read) == ["a"]


@pytest.fixture
def told(monkeypatch):
    """What a program got to run."""
    calls = []
    monkeypatch.setattr("os.system", calls.append)
    monkeypatch.setattr("builtins.eval", calls.append)
    return calls


COMMAND = text("touch /tmp/here")
NESTED = b"".join(
    [text("a"), b"q\x00", b"".join(b"h\x00h\x00\x86q\x00" for _ in range(60))]
)  # a tuple of 2 ** 60 leaves


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"cposix\nsystem\n" + tuple_of(COMMAND) + b"R", "GLOBAL 'posix system'"),
        (b"cbuiltins\neval\n" + tuple_of(COMMAND) + b"R", "GLOBAL 'builtins eval'"),
        (text("os") + text("system") + b"\x93", "STACK_GLOBAL"),
        (b"(" + COMMAND + b"ios\nsystem\n", "INST"),
        (b"(cos\nsystem\n" + COMMAND + b"o", "GLOBAL 'os system'"),
        (EMPTY[:-2] + b")\x81", "NEWOBJ"),
        (b"\x82\x01", "EXT1"),
        (b"Pstorage\n", "PERSID"),
        (b"\x8e" + (1 << 40).to_bytes(8, "little"), "BINBYTES8|expected"),
        (b"ctorch\nFloatStorage\n" + tuple_of(COMMAND) + b"R", "a call of"),
        (EMPTY[:-2] + tuple_of(tuple_of(COMMAND)) + b"R", "a call of"),
        (tuple_of(text("collections OrderedDict")) + b")R", "a call of"),
        (NESTED + b"Q", "a storage described by"),
        (EMPTY + NESTED + b"Ns", "other items than"),
        (EMPTY + NESTED + b"a", "no list"),
        (b")" * 3 + b"\x86" * 9, "This is no weights file"),
        (b"h\x07", "This is no weights file"),
        (b"t", "This is no weights file"),
        (items(a=text("b")), "other values than tensors"),
        (items(a=tensor())[:-1], "This is no weights file"),
        (tensor(), "other values than tensors"),
    ],
)
def test_programs_are_refused(program, message, told):
    with pytest.raises(ValueError, match=message) as raised:
        read_tensors(file_of(program))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400
    assert told == []


@pytest.mark.parametrize(
    "where",
    [
        storage(length=-1),
        storage(device="cuda:0"),
        storage(kind="Byte"),
        storage(view=tuple_of(text("0"), number(0), number(6))),
        tuple_of(text("module"), text("os"), text("0"), text("cpu"), number(6)) + b"Q",
    ],
)
def test_storages_of_another_kind_are_refused(where):
    with pytest.raises(ValueError, match="a storage described by|opcode GLOBAL"):
        read_tensors(file_of(items(a=tensor(where))))


@pytest.mark.parametrize(
    "options",
    [
        {"offset": 1},
        {"offset": -1},
        {"shape": (7,), "strides": (1,)},
        {"shape": (-2, -3)},
        {"shape": (3, 2), "strides": (1, 1)},  # overlapping
        {"shape": (1 << 30, 6), "strides": (0, 1)},  # 24 GB of 24 bytes
        {"shape": (3,), "strides": (2,)},
        {"shape": (2, 3), "strides": (-3, 1)},
        {"shape": (6,), "strides": (1, 1)},
        {"shape": (1,) * 9, "strides": (1,) * 9},
    ],
)
def test_tensors_beyond_their_storage_are_refused(options):
    with pytest.raises(ValueError, match="a tensor described by"):
        read_tensors(file_of(items(a=tensor(**options))))


def test_storages_that_lie_are_refused():
    program, values = items(a=tensor()), np.arange(6, dtype="<f4")
    whole = file_of(program)
    assert read_tensors(whole)["a"].size == 6
    for data, message in {
        whole[:-1]: "buffer is smaller",
        whole + b"\0": "more after",
        whole[: -len(values.tobytes())]: "buffer is smaller",
        file_of(program, {"0": values[:5]}): "another length of storage '0'",
        file_of(program, {"1": values}): "other storages",
        file_of(program, {}): "other storages",
        file_of(program, {"0": values, "1": values}): "other storages",
        file_of(program, order="big_endian"): "another byte order",
        file_of(
            items(a=tensor(), b=tensor(storage(kind="Long")))
        ): "two storages with the key '0'",
        pickle.dumps(7): "another version",
        b"": "This is no weights file",
    }.items():
        with pytest.raises(ValueError, match=message):
            read_tensors(data)


def test_a_zip_is_not_opened():
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    with pytest.raises(ValueError, match="no weights file of PyTorch"):
        read_tensors(bomb.getvalue())


def test_deep_nesting_does_not_exhaust_the_stack():
    deep = text("a") + b"\x85" * 100_000
    for program in (deep + b"Q", EMPTY + deep + b"Ns"):
        with pytest.raises(ValueError, match="no weights file of PyTorch"):
            read_tensors(file_of(program))
