"""What may be added to papisim: families of kinds, and the three doors through which a kind comes in.

``family`` says what a family and a kind are, ``families`` where each family is declared, ``outside`` how code that is
not part of papisim is found and imported.
"""

from papisim.kinds.family import Example

__all__ = ["Example"]
