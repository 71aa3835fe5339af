"""What a network will take of a part before any synthesis: a model of each library module, fitted to Yosys.

`features` says what a module's instance has to count, `model` what each count costs; `SERIES.json` holds the fitted
prices of a series of parts. Words owned here: cells, feature, price.
"""
