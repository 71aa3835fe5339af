//Numpy array shape [16]
//Min -719.000000000000
//Max 942.000000000000
//Number of zeros 0

#ifndef OFFSET3_H_
#define OFFSET3_H_

namespace stage0 {

#ifndef __SYNTHESIS__
node__symbolic_3_offset_t offset3[16];
#else
node__symbolic_3_offset_t offset3[16] = {-65, 297, -403, 942, 203, -578, 442, -546, -213, 112, -17, 349, -18, 259, 460, -719};

#endif
}


#endif
