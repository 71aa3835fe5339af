//Numpy array shape [10]
//Min -4.000000000000
//Max 4.000000000000
//Number of zeros 3

#ifndef OFFSET13_H_
#define OFFSET13_H_

namespace stage0 {

#ifndef __SYNTHESIS__
logits__node_linear__2_offset_t offset13[10];
#else
logits__node_linear__2_offset_t offset13[10] = {2, -1, -4, 0, 0, 0, -3, 1, 1, 4};

#endif
}


#endif
