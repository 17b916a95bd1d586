"""The arrays in a weights file of PyTorch, read without PyTorch and without unpickling.

What `torch.save` wrote until PyTorch 1.6 is five pickles and the numbers: a magic number,
a version, the byte order, a dictionary of tensors, and the keys of their storages; then
each storage as its length (int64) and its numbers. A pickle is a program. Only the few
opcodes that describe tensors are followed here, on a stack of plain values: nothing is
imported or called, and no number is read from outside its storage.
"""

import io
import math
import pickletools
from dataclasses import dataclass
from reprlib import repr as shown

import numpy as np

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
_DTYPES = {
    "torch DoubleStorage": np.dtype("<f8"),
    "torch FloatStorage": np.dtype("<f4"),
    "torch HalfStorage": np.dtype("<f2"),
    "torch LongStorage": np.dtype("<i8"),
}
_TENSOR, _DICT = "torch._utils _rebuild_tensor_v2", "collections OrderedDict"
_GLOBALS = frozenset([*_DTYPES, _TENSOR, _DICT])
_CONSTANTS = {"NEWTRUE": True, "NEWFALSE": False, "NONE": None}
_PLAIN = frozenset(["BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1"])
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


@dataclass(frozen=True)
class _Global:
    """What a pickle would import."""

    name: str


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype
    length: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple
    order: tuple  # of the axes in memory, slowest first


def _are(kind, values):
    return all(type(value) is kind for value in values)


def _are_lengths(values):
    return _are(int, values) and min(values) >= 0


def _describe_storage(identity):
    """A storage from its persistent id."""
    match identity:
        case ("storage", _Global(kind), str(key), "cpu", length, None):
            if kind in _DTYPES and _are_lengths([length]):
                return _Storage(key, _DTYPES[kind], length)
    raise ValueError(f"a storage described by {shown(identity):.80}")


def _describe_tensor(arguments):
    """A tensor from the arguments of its constructor.

    Its axes may lie in any order, but its values lie side by side within its storage.
    """
    match arguments:
        case (_Storage() as storage, offset, tuple(shape), tuple(strides), _, dict()):
            lengths = _are_lengths([offset, *shape, *strides])
            if lengths and len(shape) == len(strides) <= 4:
                order = sorted(range(len(shape)), key=lambda axis: -strides[axis])
                dense = 1
                for axis in reversed(order):
                    if shape[axis] != 1 and strides[axis] != dense:
                        break
                    dense *= shape[axis]
                else:
                    if offset + dense <= storage.length:
                        return _Tensor(storage, offset, shape, tuple(order))
    raise ValueError(f"a tensor described by {shown(arguments):.80}")


def _take(tensor, numbers):
    """The array that a tensor describes, from the numbers of its storage."""
    stored = [tensor.shape[axis] for axis in tensor.order]
    values = numbers[tensor.offset : tensor.offset + math.prod(stored)]
    return values.reshape(stored).transpose(np.argsort(tensor.order))


def _call(function, arguments):
    if function == _Global(_DICT) and arguments == ():
        return {}
    if function == _Global(_TENSOR):
        return _describe_tensor(arguments)
    raise ValueError(f"a call of {shown(function):.80}")


def _read_pickle(file):
    """The value that one pickle describes, of plain values, storages and tensors."""
    stack, memo = [], {}

    def pop_to_mark():
        values = []
        while (value := stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def update(pairs):
        # Keys are text: to hash nested tuples could exhaust the stack.
        if type(stack[-1]) is not dict or not _are(str, pairs[::2]):
            raise ValueError("other items than those of a dictionary")
        stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))

    for opcode, argument, _ in pickletools.genops(file):
        name = opcode.name
        if name in _PLAIN:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "TUPLE":
            stack.append(tuple(pop_to_mark()))
        elif name in _TUPLES:
            stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            update([key, value])
        elif name == "SETITEMS":
            update(pop_to_mark())
        elif name in ("APPEND", "APPENDS"):
            values = [stack.pop()] if name == "APPEND" else pop_to_mark()
            if type(stack[-1]) is not list:
                raise ValueError("items of what is no list")
            stack[-1].extend(values)
        elif name == "GLOBAL" and argument in _GLOBALS:
            stack.append(_Global(argument))
        elif name == "BINPERSID":
            stack.append(_describe_storage(stack.pop()))
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_call(function, arguments))
        elif name == "BUILD":
            stack.pop()  # attributes of a dictionary (versions of the layers)
        elif name not in ("PROTO", "STOP"):
            about = "" if argument is None else f" {shown(argument):.80}"
            raise ValueError(f"the opcode {name}{about}")
    (value,) = stack
    return value


def _read_storages(file, wanted):
    """The numbers of each storage: {key: array}."""
    keys = _read_pickle(file)
    if type(keys) is not list or not _are(str, keys) or sorted(keys) != sorted(wanted):
        raise ValueError("other storages than its tensors need")
    data, place, arrays = file.getbuffer(), file.tell(), {}
    for key in keys:
        storage = wanted[key]
        if int.from_bytes(data[place : place + 8], "little") != storage.length:
            raise ValueError(f"another length of storage {shown(key):.80}")
        # Raises where the file ends before.
        arrays[key] = np.frombuffer(data, storage.dtype, storage.length, place + 8)
        place += 8 + arrays[key].nbytes
    if place != len(data):
        raise ValueError("more after its last storage")
    return arrays


def _read(file):
    if _read_pickle(file) != _MAGIC or _read_pickle(file) != _VERSION:
        raise ValueError("another version of the format")
    if _read_pickle(file).get("little_endian") is not True:
        raise ValueError("another byte order")
    tensors = _read_pickle(file)
    if type(tensors) is not dict or not _are(_Tensor, tensors.values()):
        raise ValueError("other values than tensors")
    storages = {}
    for tensor in tensors.values():
        storage = tensor.storage
        if storages.setdefault(storage.key, storage) != storage:
            raise ValueError(f"two storages with the key {shown(storage.key):.80}")
    arrays = _read_storages(file, storages)
    return {
        name: _take(tensor, arrays[tensor.storage.key])
        for name, tensor in tensors.items()
    }


def read_tensors(data):
    """Read the tensors of a weights file: bytes -> {name: array}.

    Raises a ValueError if there is anything else in it.
    """
    try:
        return _read(io.BytesIO(data))
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise ValueError(f"This is no weights file of PyTorch: {error}.") from None
