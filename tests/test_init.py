"""What `from geoimages import ...` offers."""

import types

import geoimages


def test_all_is_the_namespace():
    public = {
        name
        for name, value in vars(geoimages).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert set(geoimages.__all__) == public
    assert sorted(geoimages.__all__) == geoimages.__all__


def test_every_public_name_is_documented():
    for name in geoimages.__all__:
        value = getattr(geoimages, name)
        assert value.__doc__, name
        members = vars(value).items() if isinstance(value, type) else ()
        for member, method in members:
            if not member.startswith("_") and callable(method):
                assert method.__doc__, f"{name}.{member}"
