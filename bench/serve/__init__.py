"""Modeless service under load, beside what people use today; see `edgesight.bench.serve.bench`."""
