//Numpy array shape [16]
//Min 1.000000000000
//Max 1.000000000000
//Number of zeros 0

#ifndef MULTIPLIER6_H_
#define MULTIPLIER6_H_

namespace stage0 {

#ifndef __SYNTHESIS__
node__symbolic_6_multiplier_t multiplier6[16];
#else
node__symbolic_6_multiplier_t multiplier6[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

#endif
}


#endif
