//Numpy array shape [32]
//Min -340.000000000000
//Max 356.000000000000
//Number of zeros 0

#ifndef OFFSET9_H_
#define OFFSET9_H_

namespace stage1 {

#ifndef __SYNTHESIS__
node__symbolic_9_offset_t offset9[32];
#else
node__symbolic_9_offset_t offset9[32] = {18, 77, 120, 36, 228, -82, 70, 127, 143, 212, -340, 202, 80, -48, 202, 72, 34, 68, 6, -150, 177, 41, -107, 5, 119, 201, -68, 11, 79, 125, -153, 356};

#endif
}


#endif
