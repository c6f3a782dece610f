"""The kernels of LLM decoding as torch programs, and a bench that times them.

One file per family: what ``papisim capture`` sees a model launch, what the GPU tables under ``measured/`` are made of,
and what a mapping onto other hardware must compute. ``scripts/measure-gpu`` runs them all on a CUDA machine; with
``--device cpu --smoke`` they run anywhere on tiny shapes, which proves the programs and measures nothing.
"""
