//Numpy array shape [32]
//Min -75.000000000000
//Max 191.000000000000
//Number of zeros 1

#ifndef OFFSET7_H_
#define OFFSET7_H_

namespace stage1 {

#ifndef __SYNTHESIS__
node__symbolic_6_offset_t offset7[32];
#else
node__symbolic_6_offset_t offset7[32] = {96, -72, 47, 9, 19, 4, 89, 5, -15, 64, -15, 4, 25, 20, -4, -27, 78, -3, 49, -75, 9, 37, 39, 191, -5, -1, 33, -38, 0, 76, 21, 67};

#endif
}


#endif
