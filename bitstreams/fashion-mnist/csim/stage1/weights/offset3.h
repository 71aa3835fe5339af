//Numpy array shape [16]
//Min -502.000000000000
//Max 402.000000000000
//Number of zeros 0

#ifndef OFFSET3_H_
#define OFFSET3_H_

namespace stage1 {

#ifndef __SYNTHESIS__
node__symbolic_3_offset_t offset3[16];
#else
node__symbolic_3_offset_t offset3[16] = {75, 217, 42, 330, 188, -52, 225, -168, -14, -16, 15, 359, -17, 402, 256, -502};

#endif
}


#endif
