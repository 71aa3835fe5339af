//Numpy array shape [10]
//Min 1.000000000000
//Max 1.000000000000
//Number of zeros 0

#ifndef MULTIPLIER16_H_
#define MULTIPLIER16_H_

namespace stage1 {

#ifndef __SYNTHESIS__
logits__node_linear__2_multiplier_t multiplier16[10];
#else
logits__node_linear__2_multiplier_t multiplier16[10] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

#endif
}


#endif
