"""The same images over other transports, and over ours: the programs at the two ends of a link that are compared.

    python -m edgesight.bench.link.peers serve TRANSPORT MODEL KEYS PORT               (data centre; KEYS are its own)
    python -m edgesight.bench.link.peers ask TRANSPORT KEYS ADDRESS PORT IMAGES PLAN BEGIN   (edge)

`serve` says "ready" on a line of its own when it listens, and runs until it is told to stop. `ask` sends the images of
the .npy file IMAGES as PLAN (JSON, see `edgesight.bench.link.workload`) says, the first at BEGIN of the machine's
monotonic clock unless that is over, and prints the outcomes as one JSON line.

Transports:
- edgesight: `edgesight.host.link.client.OffloadClient` and `edgesight.host.datacenter.service`, as a user has them.
- grpc: one unary call an image on one channel, HTTP/2 over TCP, without TLS, which only favours it. The kernel's
  congestion control is the link's (`NamespaceLink`'s `tcp`).
- quic: one reliable QUIC stream an image on one connection, with our congestion controller, our pacing and our mutual
  TLS.
- udp: plain datagrams, all sent at once, none repaired, no congestion control, nothing encrypted. An image with one
  datagram lost is lost, and so is an answer.

All ask the same executor, batched in the same way. All encode when an image arrives and decode at the data centre. The
others get every chance: connections are warm, a call that missed its deadline is cancelled so that it holds up no
other, and a request whose deadline has passed is not worked on.

Words owned here: transport.
"""

TRANSPORTS = ("edgesight", "grpc", "quic", "udp")
