"""papisim from Python: each function does what the command of its name does.

:mod:`papisim.api.runs` has ``load``, ``run``, ``compare`` and ``explain``, :mod:`papisim.api.spaces` ``sweep`` and ``optimise``,
:mod:`papisim.api.kernels` ``price`` and ``capture``, :mod:`papisim.api.literature` ``reproduce``, :mod:`papisim.api.logs` ``fit``. All are
attributes of ``papisim`` itself.

>>> import papisim
>>> result = papisim.run(hw="papi", trace="llama7b", batch=4)
>>> result.frames["steps"]["rlp"].iloc[0]
4
"""
