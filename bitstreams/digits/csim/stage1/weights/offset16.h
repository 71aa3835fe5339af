//Numpy array shape [10]
//Min -9.000000000000
//Max 7.000000000000
//Number of zeros 0

#ifndef OFFSET16_H_
#define OFFSET16_H_

namespace stage1 {

#ifndef __SYNTHESIS__
logits__node_linear__2_offset_t offset16[10];
#else
logits__node_linear__2_offset_t offset16[10] = {3, 7, -9, -1, -3, -9, -2, -9, -6, 3};

#endif
}


#endif
