//Numpy array shape [16]
//Min 0.000000000000
//Max 0.000000000000
//Number of zeros 16

#ifndef B2_H_
#define B2_H_

namespace stage0 {

#ifndef __SYNTHESIS__
conv1__node_conv2d__bias_t b2[16];
#else
conv1__node_conv2d__bias_t b2[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};

#endif
}


#endif
