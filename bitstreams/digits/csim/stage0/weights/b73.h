//Numpy array shape [10]
//Min -0.062500000000
//Max 0.062500000000
//Number of zeros 3

#ifndef B73_H_
#define B73_H_

namespace stage0 {

#ifndef __SYNTHESIS__
bias73_t b73[10];
#else
bias73_t b73[10] = {0.031250, -0.015625, -0.062500, 0.000000, 0.000000, 0.000000, -0.046875, 0.015625, 0.015625, 0.062500};

#endif
}


#endif
