"""Why a run takes as long as it does, and which changes would shorten it.

``recording`` records the priced work of a run, ``parameters`` names the numbers of the hardware in use, ``sensitivity`` prices
the same work again with one of them changed, ``changes`` simulates changes that a designer could make, ``explanation`` combines
the answers, and ``schema`` describes them field by field.
"""
