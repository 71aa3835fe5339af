//Numpy array shape [32]
//Min -81.000000000000
//Max 184.000000000000
//Number of zeros 0

#ifndef OFFSET10_H_
#define OFFSET10_H_

namespace stage1 {

#ifndef __SYNTHESIS__
node__symbolic_9_offset_t offset10[32];
#else
node__symbolic_9_offset_t offset10[32] = {184, 48, 6, 64, 77, 7, 23, -30, 83, 18, 25, 110, 8, -61, -4, 68, 26, 74, 105, 68, 129, 33, 26, 64, -20, -15, 40, 55, -42, -81, -48, 66};

#endif
}


#endif
