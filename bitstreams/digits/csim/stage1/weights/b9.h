//Numpy array shape [32]
//Min 0.000000000000
//Max 0.000000000000
//Number of zeros 32

#ifndef B9_H_
#define B9_H_

namespace stage1 {

#ifndef __SYNTHESIS__
conv3__node_conv2d_2__bias_t b9[32];
#else
conv3__node_conv2d_2__bias_t b9[32] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};

#endif
}


#endif
