//Numpy array shape [10]
//Min -0.082031250000
//Max 0.058593750000
//Number of zeros 2

#ifndef B91_H_
#define B91_H_

namespace stage1 {

#ifndef __SYNTHESIS__
bias91_t b91[10];
#else
bias91_t b91[10] = {0.01562500, -0.07812500, -0.08203125, 0.00000000, 0.00000000, 0.05859375, 0.02343750, -0.07031250, 0.02343750, -0.01562500};

#endif
}


#endif
