"""`edgesight bench folding`: how fast folded networks are and what they take, beside others' hardware."""
