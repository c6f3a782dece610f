"""Systems that papers compare themselves with: the headline of each publication, and what comes out here."""
