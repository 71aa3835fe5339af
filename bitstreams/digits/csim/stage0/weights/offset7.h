//Numpy array shape [16]
//Min -38.000000000000
//Max 42.000000000000
//Number of zeros 0

#ifndef OFFSET7_H_
#define OFFSET7_H_

namespace stage0 {

#ifndef __SYNTHESIS__
node__symbolic_6_offset_t offset7[16];
#else
node__symbolic_6_offset_t offset7[16] = {40, -3, 1, 13, 27, -12, 27, 1, -38, 3, -18, 42, 35, 2, 27, 13};

#endif
}


#endif
