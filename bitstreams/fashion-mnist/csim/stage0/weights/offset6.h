//Numpy array shape [16]
//Min -36.000000000000
//Max 34.000000000000
//Number of zeros 2

#ifndef OFFSET6_H_
#define OFFSET6_H_

namespace stage0 {

#ifndef __SYNTHESIS__
node__symbolic_6_offset_t offset6[16];
#else
node__symbolic_6_offset_t offset6[16] = {5, 0, 15, -3, -9, 17, 29, 25, 22, 17, -12, 0, 10, 34, -36, 10};

#endif
}


#endif
