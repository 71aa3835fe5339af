"""`edgesight bench service`: what the doors of the data centre cost and carry, who gets what, and what they survive."""
