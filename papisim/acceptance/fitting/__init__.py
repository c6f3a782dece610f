"""Turn logged speculation steps into a process of kind ``fitted``, and check it on turns it has not seen."""
