"""How sure a figure is: factors by which the truth may differ from the model, and the intervals that follow.

:mod:`papisim.uncertainty.evidence` reads what is known about the errors, ``papisim/uncertainty/evidence.yaml``;
:mod:`papisim.uncertainty.factor` has the factors and sums of products of them, whose moments are exact;
:mod:`papisim.uncertainty.budget` splits the time and the energy of a run by factor;
:mod:`papisim.uncertainty.intervals` turns these into intervals, probabilities and shares of the variance;
:mod:`papisim.uncertainty.sampling` draws the factors and simulates again, which checks the former.
"""
