//Numpy array shape [10]
//Min -5.000000000000
//Max 7.000000000000
//Number of zeros 1

#ifndef OFFSET12_H_
#define OFFSET12_H_

namespace stage0 {

#ifndef __SYNTHESIS__
logits__node_linear__2_offset_t offset12[10];
#else
logits__node_linear__2_offset_t offset12[10] = {3, -2, -5, -3, -1, 7, 0, -3, 2, 1};

#endif
}


#endif
