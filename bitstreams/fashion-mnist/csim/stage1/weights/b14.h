//Numpy array shape [10]
//Min 0.000000000000
//Max 0.000000000000
//Number of zeros 10

#ifndef B14_H_
#define B14_H_

namespace stage1 {

#ifndef __SYNTHESIS__
logits__node_linear__bias_t b14[10];
#else
logits__node_linear__bias_t b14[10] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0};

#endif
}


#endif
