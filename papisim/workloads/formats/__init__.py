"""The formats of public request traces; one format, one file.

A format is one module with four names: ``DESCRIPTION``, a line for people; ``TAKES``, the fields of
:class:`~papisim.workloads.traces.spec.TraceFile` that only some formats use and this one does; ``detect(head)``, whether the
first characters of a file look like it; and ``read(reading)``, which yields ``(arrival in s or None, input tokens, output
tokens)`` for each request and reports lines that are wrong.
"""
