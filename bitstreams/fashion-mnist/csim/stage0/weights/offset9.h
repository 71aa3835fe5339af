//Numpy array shape [32]
//Min -52.000000000000
//Max 81.000000000000
//Number of zeros 0

#ifndef OFFSET9_H_
#define OFFSET9_H_

namespace stage0 {

#ifndef __SYNTHESIS__
node__symbolic_9_offset_t offset9[32];
#else
node__symbolic_9_offset_t offset9[32] = {64, 38, 18, 28, 9, 21, 38, 78, 10, 21, -32, 6, 56, 64, -12, 5, 55, 8, 28, 65, -52, -5, 43, 71, 24, 43, 43, 49, 81, 49, 31, 28};

#endif
}


#endif
