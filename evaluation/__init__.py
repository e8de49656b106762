"""How good a run is: against gold clusters or labelled pairs."""
