"""When everything happens: the discrete-event simulation, and the only package that imports SimPy."""
