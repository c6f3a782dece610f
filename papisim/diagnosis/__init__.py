"""Why a run takes as long as it does, and what would change it.

``recording`` watches a run and keeps what was priced, ``parameters`` names the numbers of the hardware in use, ``sensitivity``
prices the same work again with one of them changed, ``changes`` tries what a designer could do, and ``explanation`` puts the
answers together.
"""
