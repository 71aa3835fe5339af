//Numpy array shape [32]
//Min 0.000000000000
//Max 0.000000000000
//Number of zeros 32

#ifndef B6_H_
#define B6_H_

namespace stage1 {

#ifndef __SYNTHESIS__
node_conv2d_1_bias_t b6[32];
#else
node_conv2d_1_bias_t b6[32] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};

#endif
}


#endif
