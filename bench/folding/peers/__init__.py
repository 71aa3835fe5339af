"""Programs that run others' generators, each as a script of its own."""
