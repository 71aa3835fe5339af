/// What the loader of weights says to the memories that it writes, and to the register map.
package weights_pkg;

  // One bus passes by all memories of a kernel. What is written goes into the bank that `bank` does not name.
  typedef struct packed {
    logic        bank;  // that is read
    logic        shift;  // `data` is the next 32 bits of the memory's next word, the uppermost first
    logic        store;  // the word is whole: it goes to `address`
    logic [15:0] memory;
    logic [19:0] address;
    logic [31:0] data;
  } bus_t;

  // As the register `weights_status` shows it.
  typedef struct packed {
    logic bank;
    logic refused;
    logic swapping;
    logic damaged;
    logic ready;
    logic loading;
  } status_t;

endpackage
