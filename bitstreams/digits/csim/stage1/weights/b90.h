//Numpy array shape [10]
//Min -0.035156250000
//Max 0.027343750000
//Number of zeros 0

#ifndef B90_H_
#define B90_H_

namespace stage1 {

#ifndef __SYNTHESIS__
bias90_t b90[10];
#else
bias90_t b90[10] = {0.01171875, 0.02734375, -0.03515625, -0.00390625, -0.01171875, -0.03515625, -0.00781250, -0.03515625, -0.02343750, 0.01171875};

#endif
}


#endif
