//Numpy array shape [8]
//Min -1.154296875000
//Max 1.853515625000
//Number of zeros 0

#ifndef B74_H_
#define B74_H_

namespace stage0 {

#ifndef __SYNTHESIS__
bias74_t b74[8];
#else
bias74_t b74[8] = {0.003906250, 0.837890625, -0.654296875, 1.853515625, 0.265625000, -1.154296875, 0.941406250, -1.007812500};

#endif
}


#endif
