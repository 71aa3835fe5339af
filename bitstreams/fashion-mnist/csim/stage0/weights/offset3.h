//Numpy array shape [16]
//Min -577.000000000000
//Max 316.000000000000
//Number of zeros 0

#ifndef OFFSET3_H_
#define OFFSET3_H_

namespace stage0 {

#ifndef __SYNTHESIS__
node__symbolic_3_offset_t offset3[16];
#else
node__symbolic_3_offset_t offset3[16] = {242, 188, -3, 316, 124, -577, 233, -142, -41, -14, -7, 301, -44, 156, 270, -134};

#endif
}


#endif
