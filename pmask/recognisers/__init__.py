"""The pool of face recognisers: ``specs`` names them (no torch), ``pool`` loads them as differentiable modules."""
