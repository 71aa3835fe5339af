//Numpy array shape [16]
//Min -1.187500000000
//Max 1.312500000000
//Number of zeros 0

#ifndef B75_H_
#define B75_H_

namespace stage0 {

#ifndef __SYNTHESIS__
bias75_t b75[16];
#else
bias75_t b75[16] = {1.25000, -0.09375, 0.03125, 0.40625, 0.84375, -0.37500, 0.84375, 0.03125, -1.18750, 0.09375, -0.56250, 1.31250, 1.09375, 0.06250, 0.84375, 0.40625};

#endif
}


#endif
