//Numpy array shape [16]
//Min -1.062500000000
//Max 2.187500000000
//Number of zeros 0

#ifndef B75_H_
#define B75_H_

namespace stage0 {

#ifndef __SYNTHESIS__
bias75_t b75[16];
#else
bias75_t b75[16] = {-0.8750, 1.2500, 0.4375, -1.0625, -0.6250, 0.0625, 0.3125, -0.1875, 0.2500, 0.6875, 0.1875, -0.9375, 2.1875, -0.1250, 1.6250, 0.2500};

#endif
}


#endif
