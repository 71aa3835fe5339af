//Numpy array shape [32]
//Min -8.000000000000
//Max 64.000000000000
//Number of zeros 0

#ifndef OFFSET10_H_
#define OFFSET10_H_

namespace stage0 {

#ifndef __SYNTHESIS__
node__symbolic_9_offset_t offset10[32];
#else
node__symbolic_9_offset_t offset10[32] = {48, 38, 43, 30, 26, 32, 12, 35, 47, 3, 4, 26, 42, 25, 25, 21, 45, 64, -8, 32, -2, 36, 37, 42, 7, 37, 35, 41, 7, 6, 16, 1};

#endif
}


#endif
