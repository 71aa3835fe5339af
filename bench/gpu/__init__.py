"""The data centre on a GPU: throughput, latency under load and energy of a request, by executor, input and batch."""
