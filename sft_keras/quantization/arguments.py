"""What a constructor takes: the two Kerases differ in a few arguments of the same class."""

import inspect


def arguments(thing_class: type) -> set[str]:
    """Names of a constructor's arguments, those that go on to base classes included."""
    constructors = [vars(c)["__init__"] for c in thing_class.__mro__ if "__init__" in vars(c)]
    return {
        name
        for constructor in constructors
        if constructor is not object.__init__
        for name in inspect.signature(constructor).parameters
    }
