"""An emulated link: one model of what happens to a packet, and two ways to put real packets through it."""
