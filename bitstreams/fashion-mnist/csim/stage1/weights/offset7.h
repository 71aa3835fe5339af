//Numpy array shape [32]
//Min -106.000000000000
//Max 66.000000000000
//Number of zeros 0

#ifndef OFFSET7_H_
#define OFFSET7_H_

namespace stage1 {

#ifndef __SYNTHESIS__
node__symbolic_6_offset_t offset7[32];
#else
node__symbolic_6_offset_t offset7[32] = {44, -25, 16, -43, -106, -6, 22, 6, 30, 54, -10, 43, 45, 27, -10, 66, -11, 15, 57, 1, 42, 21, 54, 38, -12, 37, 32, 26, 22, -57, -67, 55};

#endif
}


#endif
