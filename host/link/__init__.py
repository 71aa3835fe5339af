"""The lossy link between edge and data centre: datagrams, strips, keys and QUIC."""
