//Numpy array shape [10]
//Min -21.000000000000
//Max 15.000000000000
//Number of zeros 2

#ifndef OFFSET15_H_
#define OFFSET15_H_

namespace stage1 {

#ifndef __SYNTHESIS__
logits__node_linear__2_offset_t offset15[10];
#else
logits__node_linear__2_offset_t offset15[10] = {4, -20, -21, 0, 0, 15, 6, -18, 6, -4};

#endif
}


#endif
