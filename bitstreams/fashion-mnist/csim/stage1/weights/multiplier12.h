//Numpy array shape [64]
//Min 1.000000000000
//Max 1.000000000000
//Number of zeros 0

#ifndef MULTIPLIER12_H_
#define MULTIPLIER12_H_

namespace stage1 {

#ifndef __SYNTHESIS__
node__symbolic_12_multiplier_t multiplier12[64];
#else
node__symbolic_12_multiplier_t multiplier12[64] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

#endif
}


#endif
