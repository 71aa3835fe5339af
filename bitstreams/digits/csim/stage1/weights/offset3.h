//Numpy array shape [16]
//Min -1469.000000000000
//Max 1870.000000000000
//Number of zeros 0

#ifndef OFFSET3_H_
#define OFFSET3_H_

namespace stage1 {

#ifndef __SYNTHESIS__
node__symbolic_3_offset_t offset3[16];
#else
node__symbolic_3_offset_t offset3[16] = {-7, 830, -678, 1870, 156, -1135, 1039, -1154, -395, -170, -198, 1142, -169, 554, 945, -1469};

#endif
}


#endif
