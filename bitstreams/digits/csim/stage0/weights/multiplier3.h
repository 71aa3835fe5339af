//Numpy array shape [16]
//Min 1.000000000000
//Max 1.000000000000
//Number of zeros 0

#ifndef MULTIPLIER3_H_
#define MULTIPLIER3_H_

namespace stage0 {

#ifndef __SYNTHESIS__
node__symbolic_3_multiplier_t multiplier3[16];
#else
node__symbolic_3_multiplier_t multiplier3[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

#endif
}


#endif
