//Numpy array shape [10]
//Min 0.000000000000
//Max 0.000000000000
//Number of zeros 10

#ifndef B12_H_
#define B12_H_

namespace stage0 {

#ifndef __SYNTHESIS__
logits__node_linear__bias_t b12[10];
#else
logits__node_linear__bias_t b12[10] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0};

#endif
}


#endif
