//Numpy array shape [10]
//Min -0.078125000000
//Max 0.109375000000
//Number of zeros 1

#ifndef B74_H_
#define B74_H_

namespace stage0 {

#ifndef __SYNTHESIS__
bias74_t b74[10];
#else
bias74_t b74[10] = {0.046875, -0.031250, -0.078125, -0.046875, -0.015625, 0.109375, 0.000000, -0.046875, 0.031250, 0.015625};

#endif
}


#endif
