"""How good a picture or clip is: against the truth (fidelity, lpips, temporal) and by itself (niqe)."""
