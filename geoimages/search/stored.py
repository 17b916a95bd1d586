"""Engines as arrays: what is saved, copied and sent of them."""


def check_stored(holds, what):
    """Raise a ValueError where stored arrays contradict each other."""
    if not holds:
        raise ValueError(f"The index is damaged, it has {what}; save it again.")


class Stored:
    """Mixin of an engine that its `arrays` describe, for pickle and for files.

    An engine has ``arrays()``, which returns a dict of JSON values and a dict of
    arrays, and a class method ``from_arrays(values, arrays)``, which checks them.
    """

    def gathered(self):
        """Return the engine with its rows in memory, where they lie in several files."""
        return self

    def __getstate__(self):
        values, arrays = self.arrays()
        return {"values": values, "arrays": arrays}

    def __setstate__(self, state):
        engine = self.from_arrays(state["values"], state["arrays"])
        self.__dict__.update(engine.__dict__)
