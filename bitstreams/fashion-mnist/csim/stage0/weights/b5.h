//Numpy array shape [16]
//Min 0.000000000000
//Max 0.000000000000
//Number of zeros 16

#ifndef B5_H_
#define B5_H_

namespace stage0 {

#ifndef __SYNTHESIS__
node_conv2d_1_bias_t b5[16];
#else
node_conv2d_1_bias_t b5[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};

#endif
}


#endif
