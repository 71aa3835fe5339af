"""`edgesight bench folding`: how fast and how small a folded network is, beside its bound and beside others' hardware."""
