//Numpy array shape [32]
//Min 1.000000000000
//Max 1.000000000000
//Number of zeros 0

#ifndef MULTIPLIER9_H_
#define MULTIPLIER9_H_

namespace stage1 {

#ifndef __SYNTHESIS__
node__symbolic_9_multiplier_t multiplier9[32];
#else
node__symbolic_9_multiplier_t multiplier9[32] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

#endif
}


#endif
