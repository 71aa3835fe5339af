//Numpy array shape [16]
//Min -1.125000000000
//Max 1.062500000000
//Number of zeros 2

#ifndef B76_H_
#define B76_H_

namespace stage0 {

#ifndef __SYNTHESIS__
bias76_t b76[16];
#else
bias76_t b76[16] = {0.15625, 0.00000, 0.46875, -0.09375, -0.28125, 0.53125, 0.90625, 0.78125, 0.68750, 0.53125, -0.37500, 0.00000, 0.31250, 1.06250, -1.12500, 0.31250};

#endif
}


#endif
